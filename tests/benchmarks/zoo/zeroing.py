"""Zero a random share of the channels that a model offers, and see whether all of them go."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

import graph
from graph.candidates.classes import Classes, classes
from graph.counts import size
from graph.tracing.trace import Use, name_of
from graph.values import Mask


def random_share(found: Classes, share: float, seed: int) -> Mask:
    """A random ``share`` of the classes [classes, bool]; something of every family stays."""
    return found.weakest(np.random.default_rng(seed).random(len(found)), round(share * len(found)))


def stay(slim: ModelProto) -> int:
    """How many of the channels that a shrunk model still offers are zero."""
    return int((classes(graph.analyse(slim)).reduce(np.abs) == 0).sum())


def removable_share(analysis: graph.Analysis) -> float:
    """Share of the stored parameters that belong to channels which could go."""
    program, choice = analysis.program, analysis.offered()
    gone = {axis: plane.gone for axis, plane in choice.planes.items() if isinstance(axis[0], tuple)}
    for use, out in analysis.trace.follows.items():
        shape, rank = program.shapes[name_of(program, use)], len(program.shapes[out])
        for axis, length in enumerate(shape):
            plane = choice.planes.get((out, axis + rank - len(shape)))
            if length > 1 and plane is not None:
                gone[use, axis] = plane.gone
    untouched: dict[Use, float] = {}
    for (use, _), mask in gone.items():
        untouched[use] = untouched.get(use, 1.0) * float(1 - mask.mean())
    touched: dict[str, float] = {}
    for use, share in untouched.items():
        name = name_of(program, use)
        if name in program.constants and np.issubdtype(program.constants[name].dtype, np.floating):
            touched[name] = max(touched.get(name, 0), (1 - share) * program.constants[name].size)
    return sum(touched.values()) / max(size(program).parameters, 1)
