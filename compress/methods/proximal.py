"""What the proximal methods share: a strength that is given or steered to a target, and healing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import Method, Plan
from compress.methods.steering import Steering, correct, effort, start

AIM = 0.45  # of the steps bring the zeros: within the first phase of the step schedule; the rest heals
LOOKS = 200  # corrections of the strength in a whole training


class Proximal(Method, ABC):
    """A method whose prox makes scales zero; a subclass says what one step does to them.

    With a strength the algorithm runs as it is to the end of training. Without one ("auto"), the strength
    is steered so that the target is met at 45 % of the steps (see `steering`), and the strongest channels of
    every layer, as many as its floor, are not shrunk. Then the mask is frozen and healing begins: the penalty
    is gone, and masked scales, shifts and their momentum are held at zero. Where the steps end short of the
    target, `finish` takes the smallest scales as well.
    """

    @property
    @abstractmethod
    def sparse(self) -> Tensor:
        """Where the prox writes its zeros, [channels]."""

    @property
    @abstractmethod
    def dense(self) -> Tensor:
        """The scales as they are, or were before they became zero, [channels]."""

    @abstractmethod
    def begin(self) -> None:
        """Set up what the steps need; the scales have their first values."""

    @abstractmethod
    def proximal_step(self, lr: float) -> float:
        """Step of the prox at learning rate ``lr``."""

    @abstractmethod
    def drift(self, lr: float) -> float:
        """Movement of a scale towards zero in a step, per unit of the penalty's slope, if the loss has no say."""

    @abstractmethod
    def move(self, lr: float) -> None:
        """One step with ``self.penalty``, which does not apply to the channels in ``self.kept``."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin with gamma = 0.5, or with the scales of a checkpoint."""
        super().setup(model, optimizer, plan)
        self.scales.require()
        if plan.fresh:
            self.scales.reset()
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
            self.path = [0.0, *path]  # how far a slope of 1 moves the scales before each step
            self.unit = plan.penalty(1.0)
            self.kept = self.scales.strongest(self.sparse.abs())
            self.steering = start(effort(self.unit, self._distance()), self._ahead())
        self.penalty = plan.penalty(self.strength)
        self.penalty.check(step)

    @property
    def strength(self) -> float:
        """Weight of the penalty now."""
        if self.mask is not None:
            return 0.0
        return self.steering.strength if self.steering else float(self.plan.strength or 0.0)

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """A step of the algorithm; or, when healing, zeros that stay."""
        self.step += 1
        if self.mask is not None:
            self.scales.hold_zero(self.mask, self.optimizer)
            return
        self.move(lr)
        if self.steering and self.step % self._interval == 0 and self.step < self.plan.steps:
            self._look(self.steering)

    def zeros(self) -> dict[str, Tensor]:
        """Channels that the prox has made zero; when healing, those that are."""
        return self.scales.by_layer(self.sparse == 0) if self.mask is None else super().zeros()

    def finish(self) -> bool:
        """Write the zeros of the prox, and with a target those that it still lacks; no layer loses all channels."""
        if self.mask is not None:
            return False
        if self.steering:
            self.reached = "threshold" if self._distance() > 0 else "prox"
            self._heal(self._chosen())
        else:
            self._heal(self.scales.unemptied(self.sparse == 0, self.dense.abs()))
        return True

    def figures(self) -> dict[str, float]:
        """The strength, and the mean scale that it works on."""
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
        self.penalty = self.plan.penalty(self.strength)

    @property
    def _interval(self) -> int:
        return max(1, self.plan.steps // LOOKS)

    @property
    def _count(self) -> int:
        """How many channels the target asks for."""
        return round(self.plan.target * len(self.scales))

    def _ahead(self) -> float:
        """Drift until the target should be met; late, what the next interval allows."""
        last = max(round(AIM * self.plan.steps), self.step + self._interval)
        return self.path[min(last, self.plan.steps)] - self.path[self.step]

    def _distance(self) -> float:
        """Size of the last scale that must go: zero when the target is met."""
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
        self.penalty = self.plan.penalty(self.strength)
        self.kept = self.scales.strongest(self.sparse.abs())

    def _chosen(self) -> Tensor:
        """As many channels as the target asks for: the smallest, and of those that are zero the smallest before."""
        before = self.dense.abs()
        score = torch.where(self.sparse == 0, before - before.max(), self.sparse.abs())
        return self.scales.weakest(score, self._count)

    def _heal(self, mask: Tensor) -> None:
        """Zeros stay zero from now on; what the prox zeroed beyond the target comes back."""
        self.scales.write(self.dense)
        self.scales.hold_zero(mask, self.optimizer)
        self.mask = mask
