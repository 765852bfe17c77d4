"""Proximal Network Slimming: Bui, Xue, Park, Qi and Xin, "A Proximal Algorithm for Network Slimming".

Source: LOD 2023, arXiv 2307.00684; the details are those of the authors' code. The
problem solved is, with xi a copy of the BatchNorm scales gamma,

    min over W, gamma, xi of  L(W, gamma) + strength |xi|_1 + beta/2 |gamma - xi|^2
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS, Method, Plan
from compress.methods.scales import strongest, weakest
from compress.methods.steering import Steering, correct, drift, start
from compress.penalties import Penalty

GAMMA, XI = 0.5, (0.47, 0.53)  # the authors' first values
AIM = 0.45  # of the steps bring the zeros: within the first phase of the step schedule; the rest heals
LOOKS = 200  # corrections of the strength in a whole training


def palm_step(
    gamma: Tensor, xi: Tensor, lr: float, beta: float, penalty: Penalty, exempt: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The scales' half of one step of proximal alternating linearised minimisation, after the SGD step.

    With alpha = 1/lr, and gamma = gamma_t - lr grad L as the SGD step left it:

        gamma_{t+1} = (alpha gamma + beta xi_t) / (alpha + beta)
        xi_{t+1}    = prox((alpha xi_t + beta gamma_{t+1}) / (alpha + beta), step 1 / (alpha + beta))

    The penalty does not apply to the channels in ``exempt`` (bool).
    """
    alpha = 1 / lr
    gamma = (alpha * gamma + beta * xi) / (alpha + beta)
    pulled = (alpha * xi + beta * gamma) / (alpha + beta)
    xi = penalty.prox(pulled, 1 / (alpha + beta))
    return gamma, xi if exempt is None else torch.where(exempt, pulled, xi)


@METHODS.register("proximal-slimming")
class ProximalSlimming(Method):
    """The authors' algorithm for a given strength, or a strength that is steered to a target.

    A channel is zero where xi == 0; its gamma is then small but rarely exact zero, so `finish` writes the
    zeros. The pull towards xi is not in the momentum.

    With a strength the algorithm is the authors', to the end of training. Without one ("auto"), the strength
    is steered so that the target is met at 45 % of the steps (see `steering`), and the strongest 5 % of every
    layer, one channel at least, are not shrunk. Then the mask is frozen and healing begins: the penalty is
    gone, so xi = gamma, and masked scales, shifts and their momentum are held at zero. Where the steps end
    short of the target, `finish` takes the smallest |xi| as well.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin with the authors' gamma = 0.5 and xi ~ U(0.47, 0.53), or with xi = gamma of a checkpoint."""
        super().setup(model, optimizer, plan)
        self.scales.require()
        gamma = self.scales.gamma()
        if plan.fresh:
            self.scales.write(torch.full_like(gamma, GAMMA))
            generator = torch.Generator().manual_seed(plan.seed)
            self.xi = torch.empty(len(gamma)).uniform_(*XI, generator=generator).to(gamma)
        else:
            self.xi = gamma
        self.step = 0
        self.mask: Tensor | None = None  # of the zeros, once they are final
        self.kept: Tensor | None = None  # never shrunk
        self.steering: Steering | None = None
        self.reached = ""
        if plan.strength is None:
            path = accumulate(drift(plan.rate(step), plan.beta) for step in range(plan.steps))
            self.path = [0.0, *path]  # how far a strength of 1 moves the scales before each step
            self.kept = strongest(self.xi.abs(), self.scales.sizes)
            self.steering = start(self._distance(), self._ahead())
        self.penalty = plan.penalty(self.strength)
        self.penalty.check(1 / (1 / plan.rate(0) + plan.beta))

    @property
    def strength(self) -> float:
        """Weight of the penalty now."""
        if self.mask is not None:
            return 0.0
        return self.steering.strength if self.steering else float(self.plan.strength or 0.0)

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """PALM on scales and xi; or, when healing, zeros that stay."""
        self.step += 1
        if self.mask is not None:
            self._heal(self.mask)
            return
        gamma, self.xi = palm_step(self.scales.gamma(), self.xi, lr, self.plan.beta, self.penalty, self.kept)
        self.scales.write(gamma)
        if self.steering and self.step % self._interval == 0 and self.step < self.plan.steps:
            self._look(self.steering)

    def zeros(self) -> dict[str, Tensor]:
        """Channels with xi == 0."""
        return self.scales.by_layer(self.xi == 0)

    def finish(self) -> bool:
        """Write the zeros of xi, and with a target those that it still lacks."""
        if self.mask is not None:
            return False
        if self.steering:
            self.reached = "threshold" if self._distance() > 0 else "prox"
        self._heal(self._chosen() if self.steering else self.xi == 0)
        return True

    def figures(self) -> dict[str, float]:
        """The strength, and the mean |xi| that it works on."""
        return {"strength": self.strength, "scale": self.xi.abs().mean().item()}

    def reached_by(self) -> str:
        """How the target was met; empty for a given strength, which pursues none."""
        return self.reached

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {
            "xi": self.xi,
            "step": self.step,
            "mask": self.mask,
            "kept": self.kept,
            "steering": asdict(self.steering) if self.steering else None,
            "reached": self.reached,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        device = self.xi.device
        self.xi = state["xi"].to(device)
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
        """The |xi| of the last channel that must go: zero when the target is met."""
        assert self.kept is not None
        candidates = self.xi.abs()[~self.kept]
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
        self.steering = correct(steering, distance, travelled, self._ahead())
        self.penalty = self.plan.penalty(self.strength)
        self.kept = strongest(self.xi.abs(), self.scales.sizes)

    def _chosen(self) -> Tensor:
        """As many channels as the target asks for: by |xi|, and where that is zero by |gamma|."""
        gamma = self.scales.gamma().abs()
        score = torch.where(self.xi == 0, gamma - gamma.max(), self.xi.abs())
        return weakest(score, self.scales.sizes, self._count)

    def _heal(self, mask: Tensor) -> None:
        """Zeros stay zero; without a penalty the best xi of the others is gamma."""
        self.mask = mask
        self.scales.hold_zero(mask, self.optimizer)
        self.xi = self.scales.gamma()
