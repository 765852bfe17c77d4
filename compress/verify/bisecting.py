"""Where do two models part? The first tensor inside them that differs beyond tolerance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto

import graph
from compress.verify.lost_channels import followed, left, read_lost
from graph.model.reader import read
from runtime import Differences, OutputParity, Session, SessionError, Settings, Tolerance, open_session
from runtime.parity import compare_arrays
from runtime.session import Feeds


@dataclass(frozen=True)
class Bisection:
    """What a search for the first difference found.

    Attributes:
        first: how far the first tensor that differs is off; None if none does.
        node: operator and name of the node that makes it.
        compared: how many tensors of both models were compared, up to that one.
        skipped: how many have other shapes, and no certificate says which channels are left.
    """

    first: OutputParity | None
    node: str
    compared: int
    skipped: int

    def __str__(self) -> str:
        seen = f"of {self.compared:,} tensors that both models have"
        if self.skipped:
            seen += f" ({self.skipped:,} more have lost channels and were not compared)"
        if self.first is None:
            return f"{seen}, none differs beyond tolerance while graph optimisation is off"
        return f"{seen}, the first that differs is '{self.first.name}' of {self.node}: by {self.first.difference}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first and self.first.to_dict()
        return {"first": first, "node": self.node, "compared": self.compared, "skipped": self.skipped}


def bisect(
    model: Path,
    against: Path,
    feeds: Feeds,
    tolerance: Tolerance,
    *,
    settings: Settings,
    certificate: Path | None = None,
) -> Bisection:
    """Compare the tensors that both models have by name, in the order in which ``against`` computes them.

    Both run without graph optimisation, since that replaces tensors, and on one row of ``feeds`` if they take it.
    Tensors inside the bodies of If, Loop and Scan are not compared.

    Args:
        model: the candidate.
        against: the reference.
        feeds: inputs on which the two differ.
        tolerance: of every tensor.
        settings: how both are run.
        certificate: of a shrink from ``against`` to ``model``: which channels of the reference are left. It is
            followed from the weights as far as `graph.tracing.rules` tells one axis of a tensor from another.

    Raises:
        ModelError: a file cannot be read.
        SessionError: a model does not run.
        UserError: ``certificate`` is none.
    """
    reference, candidate = graph.load(against), graph.load(model)
    lost = {} if certificate is None else followed(read(reference), read_lost(certificate))
    makers = {name: node for node in reference.graph.node for name in node.output if name}
    others = {name for node in candidate.graph.node for name in node.output}
    names = [name for name, node in makers.items() if name in others and node.op_type != "Constant"]
    with TemporaryDirectory() as folder:
        paths = Path(folder, "reference.onnx"), Path(folder, "candidate.onnx")
        for path, each in zip(paths, (reference, candidate), strict=True):
            graph.save(_exposed(each, names), path)
        plain = replace(settings, optimisation="off")
        row = _worst_row(open_session(against, plain), open_session(model, plain), feeds)
        expected, found = (open_session(path, plain).run(row) for path in paths)
    compared = skipped = 0
    for name in names:
        one, two = expected[name], found[name]
        if not isinstance(one, np.ndarray):
            continue  # a sequence
        if one.shape != two.shape:
            one = left(one, name, lost)
        if one.shape != two.shape:
            skipped += 1
            continue
        compared += 1
        difference = compare_arrays(name, one, two)
        if not difference.within(tolerance.rtol, tolerance.atol):
            return Bisection(difference, f"{makers[name].op_type} '{makers[name].name}'", compared, skipped)
    return Bisection(None, "", compared, skipped)


def _exposed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """``model`` with the tensors ``names`` as further outputs; onnxruntime infers their types."""
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in there)
    return model


def _worst_row(reference: Session, candidate: Session, feeds: Feeds) -> Feeds:
    """The row of ``feeds`` whose outputs differ the most; all rows if the models do not take one alone.

    With every tensor of a deep network kept, a whole batch might not fit into memory.
    """
    rows = {array.shape[:1] for array in feeds.values()}
    if len(rows) != 1 or rows == {()}:
        return feeds
    worst, largest = feeds, -1.0
    try:
        for row in range(rows.pop()[0]):
            feed = {name: array[row : row + 1] for name, array in feeds.items()}
            differences = Differences(reference, candidate)
            differences.run(feed)
            if differences.parity.max_rel > largest:
                worst, largest = feed, differences.parity.max_rel
    except SessionError:
        return feeds
    return worst
