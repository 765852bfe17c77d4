"""What a model is made of: its size, the channel classes that may go, and the ops that hold others back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graph.certificate import MAKERS
from graph.classes import classes
from graph.counts import Size, size
from graph.program import key
from graph.reads import name_of
from graph.shrink import Analysis


@dataclass(frozen=True)
class Family:
    """Classes that differ only by their index: as many channels of the same coupled tensors."""

    classes: int
    tensors: list[str]


@dataclass(frozen=True)
class Held:
    """An op that keeps channels from going, and the parameters that make those channels."""

    op: str
    reason: str
    channels: int
    parameters: int


@dataclass(frozen=True)
class Inventory:
    """What `inspect` shows.

    Attributes:
        size: parameters, MACs, bytes.
        offered: families of channel classes that may go, the largest first.
        held: what keeps the other channels, the costliest first.
    """

    size: Size
    offered: list[Family]
    held: list[Held]


def inventory(analysis: Analysis) -> Inventory:
    """Take stock of a model."""
    program, trace, choice = analysis.program, analysis.trace, analysis.offered()
    found = classes(analysis)
    tensors: dict[int, dict[str, None]] = {}
    for maker in found.makers:
        for number in np.unique(found.family[maker.classes[maker.classes >= 0]]):
            tensors.setdefault(int(number), {})[f"{name_of(program, maker.use)}[{maker.axis}]"] = None
    offered = [Family(int((found.family == number).sum()), list(names)) for number, names in tensors.items()]
    held: dict[int, tuple[int, int]] = {}
    for (site, _), plane in choice.planes.items():
        if isinstance(site, str) or site in trace.ids or site[1] != 1 or key(program.nodes[site[0]]) not in MAKERS:
            continue
        rows = program.constants[name_of(program, site)].size // plane.gone.size
        for why in np.unique(plane.why[~plane.gone]):
            count = int((plane.why[~plane.gone] == why).sum())
            channels, parameters = held.get(int(why), (0, 0))
            held[int(why)] = channels + count, parameters + count * rows
    causes = [(choice.causes[why], *figures) for why, figures in held.items()]
    blocked = [Held(cause.op, cause.reason, channels, parameters) for cause, channels, parameters in causes]
    return Inventory(
        size(program),
        sorted(offered, key=lambda family: -family.classes),
        sorted(blocked, key=lambda each: -each.parameters),
    )
