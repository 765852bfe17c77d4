"""From an ONNX file to a smaller one that provably does the same, with its certificate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

import graph
from compress.bench.staircase import kinds, staircase
from compress.errors import NotEqual, UserError
from compress.files import atomic, staged
from compress.verify.verifying import BATCH, float_noise, inputs
from graph.choosing.adapters import PRICES, Select
from runtime import Parity, Plan, Session, SessionError, Settings, bench, compare, open_session
from runtime.session import Feeds

TRIAL = Plan(min_time=1.0, max_time=8.0)
REPORT = "nothing was written. Please report this model"

Slim = tuple[ModelProto, graph.Certificate]


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
    align: str = "off",
    select: str = "auto",
    batch: int | None = None,
    verify: bool = True,
    data: str | None = None,
    data_dir: Path | None = None,
) -> Shrunk:
    """Shrink ``source`` to ``target`` and compare the two before anything is written.

    Args:
        source: any ONNX file.
        target: where the shrunk model goes.
        certificate: where its certificate goes.
        align: ``off``, a number whose multiples widths become where there are dead channels enough, or ``auto`` for
            the number that is fastest on this machine.
        select: ``auto``, ``never`` or ``always``, see `graph.shrink`.
        batch: for the latencies that ``auto`` compares; None for the batch size that the model is fixed to, or 1.
        verify: run both models.
        data: name of a data set whose images both are run on as well.
        data_dir: where it lies.

    Raises:
        ModelError: the file cannot be read or is broken, or the disk is full.
        SessionError: ONNX Runtime cannot run it, which ``auto`` needs.
        UserError: ONNX Runtime cannot run it, the data set is not there, ``align`` or ``select`` is none of these, or
            a file cannot be written.
        NotEqual: the outputs differ by more than float noise.
    """
    multiple, adapters = _multiple(align), _select(select)
    model = graph.load(source)
    noise = float_noise(model)
    if multiple is None:
        slim, found = _fastest(model, adapters, batch)
    else:
        slim, found = graph.shrink(model, align=multiple, select=adapters)
    del model  # ONNX Runtime is about to hold its weights, too
    parity = None
    with atomic(certificate) as paper, staged(target) as trial:
        graph.save(slim, trial)
        if verify:
            parity = _compare(source, trial, data, data_dir)
            found.check = {key: parity.to_dict()[key] for key in ("inputs", "max_abs", "max_rel", "provider")}
            if not parity.within(noise.rtol, noise.atol):
                difference = f"{parity.max_abs:.2g} (relative {parity.max_rel:.2g})"
                raise NotEqual(f"{source} and its shrunk form differ by {difference}; {REPORT}")
        found.stamp(source, trial)
        paper.write_text(found.json(), encoding="utf-8")
    return Shrunk(found, parity)


def _multiple(align: str) -> int | None:
    """The number that ``align`` stands for; ``None`` for ``auto``."""
    if align in ("auto", "off"):
        return {"auto": None, "off": 1}[align]
    if not align.isdecimal() or int(align) < 1:
        raise UserError(f"--align {align}: give auto, off or a whole number from 1")
    return int(align)


def _select(select: str) -> Select:
    if select not in PRICES:
        raise UserError(f"--select {select}: give auto, never or always")
    return select


def _fastest(model: ModelProto, select: Select, batch: int | None) -> Slim:
    """Shrunk with the alignment that pays on this machine by its staircase, if it does for this very model."""
    tight = graph.shrink(model, select=select)
    multiple = staircase().multiple(kinds(model))
    full = graph.shrink(model, align=multiple, select=select) if multiple > 1 else tight
    if full[1].output == tight[1].output:
        return tight
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "full.onnx"), Path(folder, "tight.onnx")
        for (slim, _), path in zip((full, tight), paths, strict=True):
            graph.save(slim, path)
        found = bench(*paths, batch=batch, plan=TRIAL).comparison
    return full if found is not None and found.verdict == "faster" else tight


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
