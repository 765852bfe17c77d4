"""From an ONNX file to a smaller one that provably does the same, with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import graph
from compress.errors import NotEqual, UserError
from compress.files import atomic, staged
from compress.verifying import BATCH, float_noise, inputs
from runtime import Parity, Plan, Session, SessionError, Settings, bench, channel_block, compare, open_session
from runtime.session import Feeds

TRIAL = Plan(min_time=1.0, max_time=8.0)
REPORT = "nothing was written. Please report this model"


@dataclass(frozen=True)
class Shrunk:
    """What came out: the certificate, and the agreement of both models if they were run."""

    certificate: graph.Certificate
    parity: Parity | None


def shrink_file(
    source: Path,
    target: Path,
    *,
    certificate: Path,
    align: int = 1,
    verify: bool = True,
    data: str | None = None,
    data_dir: Path | None = None,
) -> Shrunk:
    """Shrink ``source`` to ``target`` and compare the two before anything is written.

    Raises:
        ModelError: the file cannot be read or is broken, or the disk is full.
        UserError: ONNX Runtime cannot run it, the data set is not there, or a file cannot be written.
        NotEqual: the outputs differ by more than float noise.
    """
    model = graph.load(source)
    slim, found = graph.shrink(model, align=align)
    parity = None
    with atomic(certificate) as paper, staged(target) as trial:
        graph.save(slim, trial)
        if verify:
            parity = _compare(source, trial, data, data_dir)
            found.check = {key: parity.to_dict()[key] for key in ("inputs", "max_abs", "max_rel", "provider")}
            noise = float_noise(model)
            if not parity.within(noise.rtol, noise.atol):
                difference = f"{parity.max_abs:.2g} (relative {parity.max_rel:.2g})"
                raise NotEqual(f"{source} and its shrunk form differ by {difference}; {REPORT}")
        found.stamp(source, trial)
        paper.write_text(found.json(), encoding="utf-8")
    return Shrunk(found, parity)


def alignment(text: str, source: Path, batch: int | None = None) -> int:
    """The multiple that ``auto``, ``off`` or a number stands for.

    Neither fewer channels nor full blocks of them are always faster, so "auto" times both shrunk models here.

    Raises:
        UserError: it is none of them.
        SessionError: ONNX Runtime cannot run the model.
    """
    if text == "off":
        return 1
    if text != "auto":
        if not text.isdecimal() or int(text) < 1:
            raise UserError(f"--align {text}: give auto, off or a whole number from 1")
        return int(text)
    model, block = graph.load(source), channel_block()
    (tight, small), (full, large) = (graph.shrink(model, align=each) for each in (1, block))
    if small.output == large.output:
        return 1
    found = bench(full.SerializeToString(), tight.SerializeToString(), batch=batch, plan=TRIAL).comparison
    return block if found is not None and found.verdict == "faster" else 1


def _compare(source: Path, slim: Path, data: str | None, data_dir: Path | None) -> Parity:
    settings = Settings(optimisation="off")  # two models that are optimised differently differ more
    try:
        reference = open_session(source, settings)
        try:
            return compare(reference, open_session(slim, settings), _feeds(reference, data, data_dir))
        except SessionError as error:
            for feeds in _feeds(reference, data, data_dir):
                reference.run(feeds)  # which fails if it is the source that does not run
            raise NotEqual(f"{source} runs and its shrunk form does not ({error}); {REPORT}") from error
    except SessionError as error:
        raise UserError(f"{error}; --no-verify shrinks without running the models") from error


def _feeds(session: Session, data: str | None, data_dir: Path | None) -> Iterator[Feeds]:
    if data is None:
        return inputs(session)
    from compress.data import load  # pillow and the rest are needed for data only

    found = load(data, data_dir)
    return inputs(session, found.validation.batches(BATCH, found.spec))
