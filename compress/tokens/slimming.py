"""From an ONNX file to one with fewer tokens from block to block, with an account of what went."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.table import Table

import graph
from compress import tables
from compress.errors import NotEqual, UserError
from compress.files import staged
from compress.progress import Progress, Silent
from compress.prune.masked import opened
from compress.prune.samples import Samples
from compress.prune.store import Store, scores_file
from compress.tokens.choosing import Chooser
from compress.tokens.masking import MaskedTokens
from compress.verify.verifying import float_noise, inputs
from graph.counts import Size, size
from graph.model.reader import read
from graph.rows.facts import RowTrace
from graph.rows.forecast import Forecast
from graph.rows.masks import masked
from graph.rows.needs import Keep
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import tokens
from graph.rows.trace import trace
from runtime import Parity, Settings, compare, open_session

Budget = Literal["macs", "error"]


@dataclass(frozen=True)
class Level:
    """A softmax over tokens, or their mean.

    Attributes:
        name: of what it makes.
        tokens: how many there were.
        kept: the places of those that it still looks at.
    """

    name: str
    tokens: int
    kept: list[int]


@dataclass(frozen=True)
class Slimmed:
    """What became of a model.

    Attributes:
        exact: nothing but unread tokens went, so that its outputs are the same.
        input: the size of the model.
        output: that of the result.
        levels: what looks at tokens, in the order of the network.
        measure: of the distance: ``kl``, or ``output-error`` where the answers are no scores of classes; None if exact.
        distance: of the answers on the samples from the original ones.
        parity: with the original, in which the same tokens are masked.
    """

    exact: bool
    input: Size
    output: Size
    levels: list[Level]
    measure: str | None
    distance: float
    parity: Parity


def slim_tokens(
    source: Path,
    target: Path,
    *,
    budget: Budget | None = None,
    limit: float = 0.0,
    samples: Samples | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    scores: Path | None = None,
    progress: Progress | None = None,
) -> Slimmed:
    """Write a copy of ``source`` without tokens that nobody reads, or that matter least.

    Args:
        source: any ONNX file.
        target: where the result goes.
        budget: what says how many go: a fraction of the MACs, or an error of the answers; None for those that nobody
            reads, which changes nothing.
        limit: of the budget.
        samples: that the answers are looked at on.
        settings: how the model is run.
        seed: which samples are taken.
        scores: file of distances that took long; None for one beside the target that vanishes at the end.
        progress: told how far the choice is.

    Raises:
        ModelError: the file cannot be read or is broken.
        SessionError: ONNX Runtime cannot run it, or not on these samples.
        UserError: it has no tokens, there are no samples, the budget cannot be reached, or the file cannot be written.
        NotEqual: the result is not what masks say; nothing was written.
    """
    settings, progress = settings or Settings(), progress or Silent()
    remembered = scores_file(target, scores)
    model = graph.load(source)
    program = read(model)
    found = trace(program)
    if not found.mixers:
        raise UserError(
            f"{source} has no rows that attention looks at: there are no tokens that could go (where their number is "
            "open, as that of words may be, export the model with a fixed one)"
        )
    keep: Keep = {}
    measure, distance = None, 0.0
    if budget is not None:
        data = (samples or Samples()).read(source, settings, seed)
        if data is None:
            raise UserError("tokens are chosen by what the model answers: give training images with --data, or --input")
        answers = MaskedTokens(found, data, settings, Store(remembered))
        keep = _chosen(source, found, answers, budget, limit, progress)
        measure, distance = answers.measure, answers.distance(keep)
    slim = remove(model, keep)
    off = Settings(optimisation="off")  # two models that are optimised differently differ more
    reference = opened(masked(found).fixed(keep), off) if keep else open_session(source, off)
    parity = compare(reference, opened(slim, off), inputs(reference))
    if not parity.within(*astuple(float_noise(model))):
        raise NotEqual(
            f"{source} with tokens masked and without them differ by {parity.max_abs:.2g} "
            f"(relative {parity.max_rel:.2g}); nothing was written. Please report this model"
        )
    with staged(target) as path:
        graph.save(slim, path)
        sizes = size(program).of(source), size(read(slim, [[program.probe]])).of(path)
    if scores is None:
        remembered.unlink(missing_ok=True)
    levels = [
        Level(each.name, each.rows.size, np.flatnonzero(keep.get(each.name, np.ones(each.rows.size))).tolist())
        for each in found.mixers.values()
    ]
    return Slimmed(not keep, *sizes, levels, measure, distance, parity)


def _chosen(
    source: Path, found: RowTrace, answers: MaskedTokens, budget: Budget, limit: float, progress: Progress
) -> Keep:
    """What mixers keep within a budget."""
    stream = tokens(found)
    if stream is None:
        raise UserError(f"{source} has no rows that could go: whatever one attention leaves out, something else reads")
    apart = unpacked(found.program.model, stream.keep(stream.nested()))  # as products will be in the end
    try:
        chooser = Chooser(stream, Forecast(apart), lambda depths: answers.distance(stream.keep(depths)), progress)
        if budget == "macs":
            chooser.to_work(limit)
        else:
            chooser.to_error(limit)
    finally:
        progress.stop()
    return {name: kept for name, kept in chooser.keep.items() if not kept.all()}


def table(found: Slimmed) -> Table:
    """One row per level."""
    made = tables.table("tokens that are looked at", "of", "kept", "by", left=("by",))
    for level in found.levels:
        made.add_row(f"{level.tokens:,}", f"{len(level.kept):,}", level.name)
    return made
