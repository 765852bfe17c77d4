"""What ties channels together, as `tracer` finds it.

Every element of every activation has an integer channel id, in a collapsed array of the tensor's shape. Links, reads,
groups and freezes speak of *hyperplanes*: all elements with one index along one axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graph.model.program import Program, Shape
from graph.model.quantised import Stored

Ids = NDArray[np.int64]

#: A tensor with channels: an activation by name, or the use (node, input slot) that a node makes of a tensor. Constants
#: are always told apart by use, since exporters merge equal ones. So are activations at forks and joins, where one
#: consumer may ignore a channel that another one needs.
Use = tuple[int, int]
Site = str | Use

#: Ops to which a channel that one operand lacks is a zero.
JOINS = {"Add", "Sum"}


def name_of(program: Program, site: Site) -> str:
    """The tensor behind a site."""
    return site if isinstance(site, str) else program.nodes[site[0]].input[site[1]]


@dataclass(frozen=True)
class Link:
    """Axes whose hyperplanes of equal index go together or not at all, because ``node`` pairs them."""

    node: int
    axes: tuple[tuple[Site, int], ...]


@dataclass(frozen=True)
class Read:
    """``node`` sums over an axis of two operands: an index may go only if nothing is lost from the sum.

    Attributes:
        left: an axis of one operand.
        right: the axis of the other operand that has the same indices; in groups, those of one group.
    """

    node: int
    left: tuple[Site, int]
    right: tuple[Site, int]


@dataclass(frozen=True)
class Groups:
    """``node`` works in ``count`` groups of as many inputs and as many outputs each."""

    node: int
    count: int
    inputs: tuple[Site, int]
    outputs: tuple[Site, int]


@dataclass(frozen=True)
class Freeze:
    """No hyperplane may go along ``axis`` of ``site`` (along any axis if ``None``).

    Attributes:
        node: that forbids it; ``None`` if it is an input or output of the model.
        by: the name of what forbids it.
    """

    node: int | None
    site: Site
    axis: int | None
    why: str
    by: str


@dataclass
class Trace:
    """Channel ids and everything that ties them.

    Attributes:
        ids: collapsed id arrays; equal ids are one channel. Weights of contractions have none, their axes are linked.
        shapes: full shape of every site.
        follows: constants of element-wise ops, which lose what the output named with them loses.
        edges: uses of an activation that have channels of their own, with the activation's name.
        stored: uses of dequantised constants, with what is sliced in their place.
        sizes: elements of constants in computed shapes, with the axis whose size they are.
        count: number of distinct ids.
    """

    ids: dict[Site, Ids] = field(default_factory=dict)
    shapes: dict[Site, Shape] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    groups: list[Groups] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    follows: dict[Use, str] = field(default_factory=dict)
    edges: dict[Use, str] = field(default_factory=dict)
    stored: dict[Use, list[Stored]] = field(default_factory=dict)
    sizes: dict[tuple[Use, int], tuple[Site, int]] = field(default_factory=dict)
    count: int = 0

    @cached_property
    def summed(self) -> set[tuple[Site, int]]:
        """The axes that are summed over, once all is traced."""
        return {end for read in self.reads for end in (read.left, read.right)}

    def operand(self, program: Program, index: int, slot: int) -> Site:
        """What node ``index`` reads in ``slot``: an activation, or this use of one or of a constant."""
        name = program.nodes[index].input[slot]
        return (index, slot) if (index, slot) in self.ids or name not in self.ids else name

    def data(self, read: Read) -> tuple[Site, int]:
        """The summed axis of the activation (of the first one, if both operands are)."""
        return read.left if read.left[0] in self.ids else read.right

    def varying(self, site: Site) -> list[int]:
        """Axes of ``site`` along which its channels differ."""
        ids = self.ids.get(site)
        return [] if ids is None else [axis for axis, size in enumerate(ids.shape) if size > 1]
