"""The coupled channel groups of a model as units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.bridge.coupling import Coupling
from compress.methods.units import Units


def gradient(parameter: nn.Parameter) -> Tensor:
    """The gradient of ``parameter``, or zeros."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class Groups(Units):
    """View of the coupled groups of a model: conv rows, scales and shifts, MLP units, attention.

    The magnitude of a group is its root mean square element, in units of its family's mean at the start: a group of
    average size begins at 1, whatever the width of its layer and the way in which it was initialised.

    Args:
        coupling: of the model.
        floor: fraction of every family that a choice leaves alive.
    """

    def __init__(self, coupling: Coupling, floor: float = 0.0) -> None:
        super().__init__(coupling.families, floor)
        self.coupling = coupling
        self.unit = self._first_sizes(coupling.norms())

    def magnitude(self) -> Tensor:
        """Norm over the square root of the number of elements, over the family's mean at the start, [groups]."""
        return self.coupling.norms() / self.unit

    def gradient(self) -> Tensor:
        """Norm of the gradient of each group, [groups]."""
        return self.coupling.sum(lambda parameter: gradient(parameter).square()).sqrt()

    def scale(self, factors: Tensor) -> None:
        """Multiply all elements of each group by its factor, [groups]."""
        self.coupling.scale(factors)

    def zero(self) -> Tensor:
        """Mask [groups, bool] of those all of whose elements are zero."""
        return self.coupling.sum(lambda parameter: (parameter != 0).float()) == 0

    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set all elements of the groups in ``mask`` [groups, bool] to exact zero."""
        self.coupling.hold_zero(mask, optimizer)

    def _first_sizes(self, norms: Tensor) -> Tensor:
        """The norm of a group of magnitude 1."""
        roots = self.coupling.sizes.to(norms).sqrt()
        means = [part[part > 0].mean().expand(len(part)) for part in torch.split(norms / roots, self.sizes)]
        return roots * torch.cat(means).nan_to_num(1.0)  # a family of zeros has no mean
