"""Hide a thin network in a wide one: its weights at random places, zeros everywhere else.

Nothing here asks the compiler what is coupled: a network says itself where its channels are. Every width has a name
and one random injection from the channels of the thin network into those of the wide one, and every axis of a
parameter belongs to a width, which its size tells, since all widths of a thin network are different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Widths = dict[str, int]
Places = NDArray[np.int64]  # where the channels of a thin width are in the wide one, ascending
Maps = dict[str, Places]
More = Callable[[np.random.Generator, Maps, Widths, Widths], Maps]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Family:
    """A network that can be built in several widths.

    Attributes:
        build: from widths to a module.
        thin: the widths of the thin one; ``n_something`` is a number of groups or heads.
        wide: of the wide one.
        more: places of widths that follow from others (concatenations, heads, groups), from (rng, maps, thin, wide).
        names: names of the input and output widths of modules whose sizes do not tell.
        shape: of one input.
    """

    build: Callable[[Widths], nn.Module]
    thin: Widths
    wide: Widths
    more: More = lambda rng, maps, thin, wide: {}
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    shape: tuple[int, ...] = (3, 12, 12)


def injection(rng: np.random.Generator, thin: int, wide: int) -> Places:
    return np.sort(rng.choice(wide, thin, replace=False))


def joined(*parts: tuple[Places, int]) -> Places:
    """Places in a concatenation of parts, each with its wide size."""
    starts = np.cumsum([0, *(size for _, size in parts[:-1])])
    return np.concatenate([start + places for start, (places, _) in zip(starts, parts, strict=True)])


def spread(places: Places, count: int) -> Places:
    """Places where every channel is ``count`` elements in a row, as after Flatten, or a head of that dimension."""
    return (places[:, None] * count + np.arange(count)).ravel()


def in_groups(rng: np.random.Generator, groups: Places, thin: int, wide: int) -> Places:
    """Places where every group has ``wide`` channels, of which ``thin`` others are taken each time."""
    return np.concatenate([group * wide + injection(rng, thin, wide) for group in groups])


def hide(family: Family, seed: int, *, constants: bool) -> tuple[nn.Module, nn.Module]:
    """The thin network and the wide one with its weights; both in evaluation mode.

    Args:
        family: how to build them.
        seed: of the weights and places.
        constants: whether dead channels carry a constant, which others read, instead of zero.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    maps = {name: injection(rng, size, family.wide[name]) for name, size in family.thin.items()}
    maps |= family.more(rng, maps, family.thin, family.wide)
    thin, wide = family.build(family.thin).eval(), family.build(family.wide).eval()
    scatter = _Scatter(family, maps, constants)
    with torch.no_grad():
        _randomise_norms(thin)
        for (name, source), target in zip(thin.named_modules(), wide.modules(), strict=True):
            scatter.module(name, source, target)
    return thin, wide


def _randomise_norms(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, NORMS):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.5)
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 1.5)


class _Scatter:
    def __init__(self, family: Family, maps: Maps, constants: bool) -> None:
        self.family, self.maps, self.constants = family, maps, constants

    def places(self, module: str, side: int, thin: int, wide: int) -> Places:
        """Of the input (0) or output (1) channels of a module."""
        if module in self.family.names:
            return self.maps[self.family.names[module][side]]
        found = [places for key, places in self.maps.items() if places.size == thin and not key.startswith("n_")]
        if thin == wide:  # a fixed size: colours, classes
            return np.arange(thin)
        assert len(found) == 1, f"{module}: {len(found)} widths have the size {thin}"
        return found[0]

    def module(self, name: str, thin: nn.Module, wide: nn.Module) -> None:
        if isinstance(thin, NORMS):
            self.norm(thin, wide, self.places(name, 1, thin.num_features, wide.num_features))
        elif isinstance(thin, nn.Linear):
            into = self.places(name, 0, thin.in_features, wide.in_features)
            self.layer(thin, wide, self.places(name, 1, thin.out_features, wide.out_features), into, 1, 1)
        elif isinstance(thin, CONVOLUTIONS):
            into = self.places(name, 0, thin.in_channels, wide.in_channels)
            out = self.places(name, 1, thin.out_channels, wide.out_channels)
            self.layer(thin, wide, out, into, thin.groups, wide.groups)
        else:
            for source, target in zip(thin.parameters(recurse=False), wide.parameters(recurse=False), strict=True):
                target.copy_(source)

    def norm(self, thin: nn.Module, wide: nn.Module, places: Places) -> None:
        for parameter in (wide.weight, wide.bias):
            parameter.zero_()
        if self.constants:
            wide.bias.normal_()
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(wide, name)[places] = getattr(thin, name)

    def layer(self, thin: nn.Module, wide: nn.Module, rows: Places, columns: Places, few: int, many: int) -> None:
        """A weight [rows, columns of one group, ...] with ``few`` groups into one with ``many``."""
        small, large = thin.weight, wide.weight
        large.zero_()
        if isinstance(thin, nn.ConvTranspose2d):  # [columns, rows, ...]
            small, large = small.transpose(0, 1), large.transpose(0, 1)
        heights, widths = (len(small) // few, len(large) // many), (small.shape[1], large.shape[1])
        for row, place in enumerate(rows):
            group, start = row // heights[0], place // heights[1] * widths[1]
            inside = columns[group * widths[0] : (group + 1) * widths[0]] - start
            assert ((inside >= 0) & (inside < widths[1])).all(), "groups torn apart"
            if self.constants:  # dead columns are read, too
                large[place].normal_(0, 0.2)
            large[place, inside] = small[row]
        if thin.bias is not None:
            wide.bias.zero_()
            if self.constants:
                wide.bias.normal_(0, 0.5)
            wide.bias[rows] = thin.bias
