"""Gradual pruning: more and more units go on the way, along a schedule, and stay away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.methods.base import METHODS, Method, OnGroups, Plan
from compress.methods.groups import Groups
from compress.methods.weights import Weights

END = 0.8  # of the steps: the rest is training with the final mask
UPDATES = 50  # of the mask, in these steps


class Gradual(Method, ABC):
    """Units go in a number of updates; their share follows the cubic schedule of Zhu and Gupta.

    That is d(t) = d_f + (d_0 - d_f) (1 - t / t_end)^3 for the share of the units alive, from the first mask's to 1 -
    target ("To Prune, or Not to Prune", ICLR 2018 workshop, equation 1). The strongest units of every family, as many
    as its floor, stay; strength and penalty have no say.
    """

    units: Weights | Groups

    @abstractmethod
    def updated(self, count: int, kept: Tensor) -> Tensor:
        """The mask [units, bool] with ``count`` units in it, in a step whose gradients are still there.

        Args:
            count: how many, not fewer than before.
            kept: units that must not go.
        """

    def first(self) -> Tensor:
        """The mask [units, bool] to begin with: none."""
        return self.units.zero() & False

    def share(self, progress: float, begin: float) -> float:
        """Share of the units to be zero after ``progress``, from 0 to 1, with ``begin`` of them zero at the start."""
        return self.plan.target + (begin - self.plan.target) * (1 - progress) ** 3

    @property
    def updates(self) -> int:
        """Number of updates."""
        return UPDATES

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin with the first mask."""
        super().setup(model, optimizer, plan)
        if not len(self.units):
            raise UserError("the model has no weights to prune but those that read the images")
        self.step, self.mask = 0, self.first()
        self.begin = self.mask.float().mean().item()
        self.end = max(1, int(END * plan.steps))
        self.units.hold_zero(self.mask, optimizer)

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """Update the mask where it is time to, and hold the zeros."""
        self.step += 1
        if self.step <= self.end and self._due(self.step) > self._due(self.step - 1):
            self._update(self.step / self.end)
        self.units.hold_zero(self.mask, self.optimizer)

    def zeros(self) -> dict[str, Tensor]:
        """The mask, by family."""
        return self.units.by_family(self.mask)

    def finish(self) -> bool:
        """Nothing is left to do, unless training was cut short."""
        if self.step >= self.end:
            return False
        self.step = self.end
        self._update(1.0)
        self.units.hold_zero(self.mask, self.optimizer)
        return True

    def reached_by(self) -> str:
        """By the schedule."""
        return "schedule"

    def state_dict(self) -> dict[str, Any]:
        """The step and the mask."""
        return {"step": self.step, "mask": self.mask, "begin": self.begin}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.step, self.begin, self.mask = state["step"], state["begin"], state["mask"].to(self.mask.device)

    def _due(self, step: int) -> int:
        """How many updates are due after ``step`` steps."""
        return step * self.updates // self.end

    def _update(self, progress: float) -> None:
        kept = self.units.strongest(self.units.magnitude()) & ~self.mask
        wanted = round(self.share(progress, self.begin) * len(self.units))
        count = min(max(wanted, int(self.mask.sum())), int((~kept).sum()))
        self.mask = self.updated(count, kept)


class OnWeights(Method):
    """A method that works on single weights."""

    def find(self, model: nn.Module) -> Weights:
        """All weights but the first layer's."""
        return Weights(model)


def smallest(score: Tensor, among: Tensor, count: int) -> Tensor:
    """Mask [units, bool] of the ``count`` smallest scores ``among`` [units, bool] some."""
    order = score.masked_fill(~among, torch.inf).argsort(stable=True)
    mask = torch.zeros_like(among)
    mask[order[:count]] = True
    return mask & among


class Magnitude(Gradual):
    """The smallest go first."""

    def updated(self, count: int, kept: Tensor) -> Tensor:
        """The smallest of those alive, too."""
        alive = ~self.mask & ~kept
        return self.mask | smallest(self.units.magnitude(), alive, count - int(self.mask.sum()))


@METHODS.register("gradual-magnitude")
class GradualMagnitude(OnWeights, Magnitude):
    """Zhu and Gupta's gradual magnitude pruning of single weights, over all layers together; for shrink see `Weights`.

    In the source every layer has the target for itself.
    """


@METHODS.register("gradual-magnitude-groups")
class GradualMagnitudeGroups(OnGroups, Magnitude):
    """Gradual magnitude pruning, lifted to the coupled channel groups that `graph.shrink` can remove."""
