"""Filters: how many gradients they have, and how much they overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.bridge.coupling import Coupling

ALIKE = 0.9  # |cosine| of two filters of which one is redundant


@dataclass(frozen=True)
class Filters:
    """A weight of which every group has one row.

    Attributes:
        parameter: the weight.
        axis: along which the rows are numbered.
        places: int64 [groups], the row of each; -1 for none.
    """

    parameter: nn.Parameter
    axis: int
    places: Tensor

    @property
    def rows(self) -> Tensor:
        """[rows, ...], a view."""
        return self.parameter.movedim(self.axis, 0)


def find_filters(coupling: Coupling) -> list[Filters]:
    """All weights that have filters; not biases, nor weights of which a group has several rows, as of a head."""
    found = []
    for part in coupling.parts:
        varying = [axis for axis, size in enumerate(part.groups.shape) if size > 1]
        groups = part.groups.flatten()
        own = groups[groups < len(coupling)].tolist()
        if part.parameter.ndim > 1 and len(varying) == 1 and len(set(own)) == len(own):
            places = groups.new_full((len(coupling) + 1,), -1)
            places[groups] = torch.arange(len(groups), device=groups.device)
            found.append(Filters(part.parameter, varying[0], places[:-1]))
    return found


def gradient_count(filters: Tensor, epsilon: float) -> Tensor:
    """Mean over the filters [filters, inputs, ...] of sum z^2 / (z^2 + epsilon^2), where z are their gradients.

    These are the differences of neighbours along each axis of the kernel, or where it has one element along the inputs.
    With a small epsilon it is the number of those that are not zero.
    """
    axes = [axis for axis in range(2, filters.ndim) if filters.shape[axis] > 1] or [1]
    squares = [filters.diff(dim=axis).square() for axis in axes]
    return torch.stack([(each / (each + epsilon**2)).sum() for each in squares]).sum() / len(filters)


def overlap(filters: Tensor) -> Tensor:
    """Mean squared cosine of two different filters, of all pairs of [filters, ...]."""
    cosine = _cosines(filters.flatten(1))
    return (cosine.square().sum() - cosine.diagonal().square().sum()) / max(len(filters) * (len(filters) - 1), 1)


@torch.no_grad()
def redundant(filters: list[Filters], alive: Tensor) -> list[tuple[int, int]]:
    """Pairs of groups that are ``alive`` [groups, bool] and more than 0.9 alike, the most alike first.

    Groups of the same weights are as alike as the absolute cosine between all elements of their filters. The second of
    a pair is the later one.
    """
    owned = torch.stack([each.places >= 0 for each in filters], 1).tolist()
    alike: dict[tuple[bool, ...], list[int]] = {}  # groups by the weights that have their filters
    for group in alive.nonzero().flatten().tolist():
        alike.setdefault(tuple(owned[group]), []).append(group)
    found = []
    for owns, groups in alike.items():
        weights = [each for each, own in zip(filters, owns, strict=True) if own]
        if weights:
            rows = torch.cat([each.rows[each.places[groups]].flatten(1) for each in weights], 1)
            cosine = _cosines(rows).abs().triu(1)
            found += [(cosine[i, j].item(), groups[i], groups[j]) for i, j in (cosine > ALIKE).nonzero().tolist()]
    return [(i, j) for _, i, j in sorted(found, reverse=True)]


def _cosines(rows: Tensor) -> Tensor:
    """Of all pairs of [rows, elements]; 0 with a row of zeros."""
    unit = F.normalize(rows, dim=1)
    return unit @ unit.T
