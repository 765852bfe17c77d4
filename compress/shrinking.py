"""From an ONNX file to a smaller one that provably does the same, with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import graph
from compress.errors import UserError
from compress.files import atomic, write_text
from compress.verifying import random_inputs
from runtime import Parity, Session, SessionError, Settings, compare, open_session, real_feeds
from runtime.session import Feeds

RTOL, ATOL = 1e-4, 1e-6  # of float32 sums in another order; far below what a wrongly removed channel does
SEEDS = 4
REAL_BATCH, REAL_BATCHES = 32, 8


class NotEqual(Exception):  # noqa: N818  it is a finding, not an error
    """The shrunk model differs from its input beyond float noise; nothing was written."""


@dataclass(frozen=True)
class Shrunk:
    """What came out: the certificate, and the agreement of both models if they were run."""

    certificate: graph.Certificate
    parity: Parity | None


def shrink_file(
    source: Path,
    target: Path,
    *,
    certificate: Path | None = None,
    verify: bool = True,
    data: str | None = None,
    data_dir: Path | None = None,
) -> Shrunk:
    """Shrink ``source`` to ``target`` and compare the two before anything is written.

    Raises:
        ModelError: the file cannot be read or is broken.
        SessionError: ONNX Runtime cannot run it.
        UserError: the data set is not there, or something cannot be written.
        NotEqual: the outputs differ beyond float noise.
    """
    if certificate is not None and certificate.resolve() == target.resolve():
        raise UserError(f"the certificate and the model would both be {target}: give them different names")
    slim, found = graph.shrink(graph.load(source))
    parity = None
    with atomic(target) as temporary:
        graph.save(slim, temporary)
        if verify:
            parity = _compare(source, temporary, data, data_dir)
            found.check = {
                "inputs": parity.inputs,
                "max_abs": parity.max_abs,
                "max_rel": parity.max_rel,
                "provider": parity.provider,
            }
            if not parity.within(RTOL, ATOL):
                raise NotEqual(
                    f"{source} and its shrunk form differ by {parity.max_abs:.2g} (relative {parity.max_rel:.2g}), "
                    "which is more than float noise; nothing was written. Please report this model"
                )
        if certificate is not None:
            write_text(certificate, found.json())
    return Shrunk(found, parity)


def _compare(source: Path, slim: Path, data: str | None, data_dir: Path | None) -> Parity:
    try:
        first, second = (open_session(path, Settings(optimisation="off")) for path in (source, slim))
        return compare(first, second, _feeds(first, data, data_dir))
    except SessionError as error:
        raise UserError(f"{error}; --no-verify shrinks without running the models") from error


def _feeds(session: Session, data: str | None, data_dir: Path | None) -> Iterator[Feeds]:
    yield from random_inputs(session, SEEDS)
    if data is not None:
        from compress.data import load

        found = load(data, data_dir)
        batches = islice(found.validation.batches(REAL_BATCH, found.spec), REAL_BATCHES)
        yield from (feeds for feeds, _ in real_feeds(session, (images for images, _ in batches)))
