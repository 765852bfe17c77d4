"""Coupled channel groups of a PyTorch module: the channel classes that the graph compiler offers, on its parameters.

There is no second dependency analysis. The module is exported with all its parameters as they are, and every weight
that makes a class of `graph.candidates.classes` is traced back to the parameter that it came from. To see through
whatever moved elements on the way (transposes, slices of a fused projection), what is exported is a float64 copy of the
module, the parameters of which hold the numbers of their own elements.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

import graph
from compress.bridge.readers import Reader, readers
from compress.zeroing import hold_zero
from graph.candidates.classes import Offer, classes
from graph.export import export
from graph.tracing.trace import name_of

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The share of a parameter in the groups.

    Attributes:
        parameter: of the module.
        groups: int64, the group of every element, or the number of groups for none; of size 1 along axes where it is
            the same everywhere, as all but the first of a convolution's weight.
    """

    parameter: nn.Parameter
    groups: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """Sums of ``values``, of the parameter's shape, over the elements behind each entry of ``groups``, flat."""
        return values.sum_to_size(self.groups.shape).flatten()


@dataclass(frozen=True)
class Coupling:
    """Groups of elements of parameters; a group makes one channel, in all tensors through which it is coupled.

    Where a group is zero, so is its channel, and `graph.shrink` removes it from the exported module. Groups are
    numbered family by family. A family, the channels of the same tensors, is called by the first of its parameters.

    Attributes:
        parts: where the groups lie.
        families: number of groups per family.
        sizes: number of elements per group, float32 [groups].
        readers: what computes with the channels.
    """

    parts: list[Part]
    families: dict[str, int]
    sizes: Tensor
    readers: list[Reader] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def _places(self) -> Tensor:
        return torch.cat([part.groups.flatten() for part in self.parts])

    @torch.no_grad()
    def sum(self, measure: Callable[[nn.Parameter], Tensor]) -> Tensor:
        """Sums of ``measure``, which gives a value for every element of a parameter, over each group, [groups]."""
        values = torch.cat([part.sum(measure(part.parameter)) for part in self.parts])
        return values.new_zeros(len(self) + 1).index_add_(0, self._places, values)[:-1]

    def norms(self) -> Tensor:
        """The Euclidean norm of each group, [groups]."""
        return self.sum(torch.square).sqrt()

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply each group by its factor, [groups]."""
        factors = torch.cat([factors, factors.new_ones(1)])
        for part in self.parts:
            part.parameter.mul_(factors[part.groups])

    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set the groups in ``mask`` [groups, bool] to exact zero, and the optimizer's running state of them."""
        mask = torch.cat([mask, mask.new_zeros(1)])
        for part in self.parts:
            hold_zero(part.parameter, mask[part.groups], optimizer)


def coupling(module: nn.Module, shape: tuple[int, int, int]) -> Coupling:
    """The coupled groups of ``module``, which is not changed.

    A class that something else than parameters has a share in (a buffer, or a product of two parameters) could not be
    made zero by training, and is left out. Classes that share an element, of a module that is used twice, are one.

    Args:
        module: from images [N, C, H, W] to one tensor.
        shape: (C, H, W) of an image.

    Raises:
        ModelError: torch cannot export the module.
    """
    parameters = dict(module.named_parameters())
    numbers = element_numbers(sum(parameter.numel() for parameter in parameters.values()))
    sample = torch.zeros(2, *shape, dtype=torch.float64)
    model = export(numbered(module, numbers), sample, name="coupling", optimize=False)
    analysis = graph.analyse(model)
    offer = classes(analysis).offers[0]
    found, final = _Origins(numbers, [tuple(parameter.shape) for parameter in parameters.values()]).trace(offer)
    coupled, number = _in_order(parameters, found, offer.family)
    return replace(coupled, readers=readers(offer, analysis.trace, parameters, number[final]))


def element_numbers(count: int) -> NDArray[np.float64]:
    """For every element its number plus a random fraction, which tells it from whatever is computed."""
    return np.arange(count) + np.random.default_rng(0).random(count)


def numbered(module: nn.Module, numbers: NDArray[np.float64]) -> nn.Module:
    """A float64 copy of ``module``, on the CPU, whose parameters hold the numbers of their elements."""
    twin = copy.deepcopy(module).to("cpu", torch.float64)
    parameters = list(twin.parameters())
    parts = torch.split(torch.from_numpy(numbers), [parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view(parameter.shape)
    return twin


class _Origins:
    """Which class every element of every parameter makes, from the numbers in the constants that make classes."""

    def __init__(self, numbers: NDArray[np.float64], shapes: list[tuple[int, ...]]) -> None:
        self.numbers, self.shapes = numbers, shapes
        self.ends = np.cumsum([math.prod(shape) for shape in shapes])
        self.found: dict[tuple[int, tuple[int, ...]], Numbers] = {}  # by parameter and collapsed shape
        self.same = [np.zeros((2, 0), np.int64)]  # pairs of classes that share an element
        self.foreign = [np.zeros(0, np.int64)]  # classes that are not made of parameters alone

    def trace(self, offer: Offer) -> tuple[list[tuple[int, Numbers]], Numbers]:
        """Numbers of parameters with the class of each of their elements, -1 for none, collapsed; and `_final`."""
        for maker in offer.makers:
            values = offer.program.constants[name_of(offer.program, maker.use)]
            own = maker.classes.reshape([-1 if axis == maker.axis else 1 for axis in range(values.ndim)])
            made = np.broadcast_to(own, values.shape)
            places = np.clip(values, 0, self.numbers.size - 1).astype(np.int64)
            pure = self.numbers[places] == values
            self.foreign.append(made[~pure & (values != 0)])  # a zero does no harm, as of a bias that is not there
            self._add(places[pure], made[pure])
        final = self._final(offer.family.size)
        return [(owner, final[groups]) for (owner, _), groups in sorted(self.found.items())], final

    def _add(self, places: Numbers, made: Numbers) -> None:
        owners = np.searchsorted(self.ends, places, side="right")
        for owner in np.unique(owners).tolist():
            here = owners == owner
            whole = np.full(self.shapes[owner], -1, np.int64)
            whole.flat[places[here] - self.ends[owner] + whole.size] = made[here]
            groups = _collapsed(whole)
            known = self.found.get((owner, groups.shape), groups)
            both = (known >= 0) & (groups >= 0)
            self.same.append(np.stack([known[both], groups[both]]))
            self.found[owner, groups.shape] = np.where(known >= 0, known, groups)

    def _final(self, count: int) -> Numbers:
        """Per class, and for -1, the first of those that are one with it; -1 if one of them is foreign."""
        left, right = np.concatenate(self.same, axis=1)
        pairs = coo_array((np.ones(left.size), (left, right)), (count, count))
        component = connected_components(pairs, directed=False)[1]
        foreign = np.unique(np.concatenate(self.foreign))
        final = np.unique(component, return_index=True)[1][component]
        final[np.isin(component, component[foreign[foreign >= 0]])] = -1
        return np.append(final, -1)


def _collapsed(array: Numbers) -> Numbers:
    """``array`` with size 1 along every axis where it does not vary."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if (array == first).all():
            array = first
    return array


def _in_order(
    parameters: dict[str, nn.Parameter], found: list[tuple[int, Numbers]], family: Numbers
) -> tuple[Coupling, Numbers]:
    """The classes as groups: numbered by family, and both in the order of the parameters; and the group of each."""
    names, flat = list(parameters), np.concatenate([np.zeros(0, np.int64), *(made.ravel() for _, made in found)])
    made, first = np.unique(flat, return_index=True)
    made, first = made[made >= 0], first[made >= 0]
    begin = np.full(family.size, flat.size)
    np.minimum.at(begin, family[made], first)  # where each family begins
    order = np.lexsort((first, begin[family[made]]))
    number = np.full(family.size + 1, made.size)  # the last one is for -1
    number[made[order]] = np.arange(made.size)

    owners = np.repeat([owner for owner, _ in found], [made.size for _, made in found])
    families: dict[str, int] = {}
    for place, size in zip(*np.unique(begin[family[made]], return_counts=True), strict=True):
        name = names[owners[place]].removesuffix(".weight")
        repeated = sum(other.partition(":")[0] == name for other in families)
        families[f"{name}:{repeated + 1}" if repeated else name] = int(size)

    parts, sizes = [], np.zeros(made.size + 1)
    for owner, classes_of in found:
        parameter, groups = parameters[names[owner]], number[classes_of]
        sizes += np.bincount(groups.ravel(), minlength=sizes.size) * (parameter.numel() // groups.size)
        if (classes_of >= 0).any():
            parts.append(Part(parameter, torch.from_numpy(groups).to(parameter.device)))
    device = parts[0].groups.device if parts else None
    return Coupling(parts, families, torch.from_numpy(sizes[:-1]).float().to(device)), number
