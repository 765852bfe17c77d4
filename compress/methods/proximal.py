"""What the proximal methods share: a strength that is given or steered to a target, and healing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.methods.base import Method, Plan
from compress.methods.steering import Steering, correct, effort, start

AIM = 0.45  # of the steps bring the zeros: within the first phase of the step schedule; the rest heals
LOOKS = 200  # corrections of the strength in a whole training


class Proximal(Method, ABC):
    """A method whose prox makes units zero; a subclass says what one step does to them.

    It works on one number per unit, such as a scale or the norm of a group. With a strength the algorithm runs as it
    is to the end of training. Without one ("auto"), the strength is steered so that the target is met at 45 % of the
    steps (see `steering`), and the strongest units of every family, as many as its floor, are not shrunk. Then the
    mask is frozen and healing begins: the penalty is gone, and masked units and their momentum are held at zero.
    Where the steps end short of the target, `finish` takes the smallest units as well.
    """

    warms = True

    @property
    @abstractmethod
    def sparse(self) -> Tensor:
        """Where the prox writes its zeros, [units]."""

    @property
    @abstractmethod
    def dense(self) -> Tensor:
        """The numbers that the network computes with, [units]."""

    @abstractmethod
    def begin(self) -> None:
        """Set up what the steps need; the units have their first values."""

    @abstractmethod
    def proximal_step(self, lr: float) -> float:
        """Step of the prox at learning rate ``lr``."""

    @abstractmethod
    def drift(self, lr: float) -> float:
        """Movement of a unit towards zero in a step, per unit of the penalty's slope, if the loss has no say."""

    @abstractmethod
    def move(self, lr: float) -> None:
        """One step with ``self.penalty``, which does not apply to the units in ``self.kept``."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Find the units, and the strength to begin with.

        Raises:
            UserError: there are no units, the penalty is refused, or a strength is to warm up that is not given.
        """
        if plan.warmup and plan.strength is None:
            raise UserError("--warmup is for a given --strength: auto finds its own on the way")
        super().setup(model, optimizer, plan)
        self.begin()
        self.step = 0
        self.mask: Tensor | None = None  # of the zeros, once they are final
        self.kept: Tensor | None = None  # never shrunk
        self.steering: Steering | None = None
        self.reached = ""
        step = self.proximal_step(plan.highest_rate)
        plan.penalty(0.0).check(step)  # its shape, before a strength is derived from it
        if plan.strength is None:
            path = accumulate(self.drift(plan.rate(index)) for index in range(plan.steps))
            self.path = [0.0, *path]  # how far a slope of 1 moves the units before each step
            self.unit = plan.penalty(1.0)
            self.kept = self.units.strongest(self.sparse.abs())
            self.steering = start(effort(self.unit, self._distance()), self._ahead())
        plan.penalty(self.steering.strength if self.steering else plan.strength or 0.0).check(step)

    @property
    def strength(self) -> float:
        """Weight of the penalty now."""
        if self.mask is not None:
            return 0.0
        return self.steering.strength if self.steering else self.plan.warmed(self.plan.strength or 0.0, self.step)

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """A step of the algorithm; or, when healing, zeros that stay."""
        self.step += 1
        if self.mask is not None:
            self.units.hold_zero(self.mask, self.optimizer)
            return
        self.penalty = self.plan.penalty(self.strength)
        self.move(lr)
        if self.steering and self.step % self._interval == 0 and self.step < self.plan.steps:
            self._look(self.steering)

    def zeros(self) -> dict[str, Tensor]:
        """Units that the prox has made zero; when healing, those that are."""
        return self.units.by_family(self.sparse == 0) if self.mask is None else super().zeros()

    def finish(self) -> bool:
        """Write the zeros of the prox, and with a target those that it still lacks; no family loses all units."""
        if self.mask is not None:
            return False
        if self.steering:
            self.reached = "threshold" if self._distance() > 0 else "prox"
            self._heal(self._chosen())
        else:
            self._heal(self.units.unemptied(self.sparse == 0, self.dense.abs()))
        return True

    def figures(self) -> dict[str, float]:
        """The strength, and the mean of the numbers that it works on."""
        return {"strength": self.strength, "scale": self.sparse.abs().mean().item()}

    def reached_by(self) -> str:
        """How the target was met; empty for a given strength, which pursues none."""
        return self.reached

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {
            "step": self.step,
            "mask": self.mask,
            "kept": self.kept,
            "steering": asdict(self.steering) if self.steering else None,
            "reached": self.reached,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        device = self.sparse.device
        self.step, self.reached = state["step"], state["reached"]
        self.mask, self.kept = (None if state[k] is None else state[k].to(device) for k in ("mask", "kept"))
        self.steering = Steering(**state["steering"]) if state["steering"] else None

    @property
    def _interval(self) -> int:
        return max(1, self.plan.steps // LOOKS)

    @property
    def _count(self) -> int:
        """How many units the target asks for."""
        return round(self.plan.target * len(self.units))

    def _ahead(self) -> float:
        """Drift until the target should be met; late, what the next interval allows."""
        last = max(round(AIM * self.plan.steps), self.step + self._interval)
        return self.path[min(last, self.plan.steps)] - self.path[self.step]

    def _distance(self) -> float:
        """Size of the last unit that must go: zero when the target is met."""
        assert self.kept is not None
        candidates = self.sparse.abs()[~self.kept]
        count = min(self._count, len(candidates))
        return candidates.kthvalue(count).values.item() if count else 0.0

    def _look(self, steering: Steering) -> None:
        """Begin to heal where the target is met, else correct the strength."""
        distance = self._distance()
        if distance == 0:
            self.reached = "prox"
            self._heal(self._chosen())
            return
        travelled = self.path[self.step] - self.path[self.step - self._interval]
        self.steering = correct(steering, effort(self.unit, distance), travelled, self._ahead())
        self.kept = self.units.strongest(self.sparse.abs())

    def _chosen(self) -> Tensor:
        """As many units as the target asks for: the smallest, and of those that are zero the smallest in use."""
        before = self.dense.abs()
        score = torch.where(self.sparse == 0, before - before.max(), self.sparse.abs())
        return self.units.weakest(score, self._count)

    def _heal(self, mask: Tensor) -> None:
        """Zeros stay zero from now on."""
        self.units.hold_zero(mask, self.optimizer)
        self.mask = mask
