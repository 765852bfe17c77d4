"""Proximal Network Slimming: Bui, Xue, Park, Qi and Xin, "A Proximal Algorithm for Network Slimming".

Source: LOD 2023, arXiv 2307.00684; the details are those of the authors' code. The
problem solved is, with xi a copy of the BatchNorm scales gamma,

    min over W, gamma, xi of  L(W, gamma) + p(xi) + beta/2 |gamma - xi|^2

where p is the authors' strength |xi|_1 or, which they name as future work, any other penalty.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from compress.methods.base import METHODS, OnScales
from compress.methods.proximal import Proximal
from compress.penalties import Penalty

XI = (0.47, 0.53)  # the authors' first values


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


def palm_drift(lr: float, beta: float) -> float:
    """Movement of the pair (gamma, xi) in one step per unit of the penalty's slope: 1 / (2 alpha + beta).

    Without a loss gradient the prox takes slope / (alpha + beta) off xi, and gamma follows xi at the lag
    that balances both: the common movement m satisfies m = beta/(alpha + beta) (gamma - xi) and
    m (alpha + beta) = slope - beta (gamma - m - xi), hence m = slope / (2 alpha + beta).
    """
    return 1 / (2 / lr + beta)


@METHODS.register("proximal-slimming")
class ProximalSlimming(OnScales, Proximal):
    """The authors' algorithm, for a strength that is given or steered, and for any penalty.

    A channel is zero where xi == 0; its gamma is then small but rarely exact zero, so `finish` writes the
    zeros. The pull towards xi is not in the momentum: where training comes to rest with momentum m, the gradient of the
    loss is only 1 - m times the penalty's slope. While healing there is no penalty, so xi = gamma.
    """

    def begin(self) -> None:
        """Xi ~ U(0.47, 0.53), or xi = gamma of a checkpoint."""
        self.xi = self.scales.gamma()
        if self.plan.fresh:
            generator = torch.Generator().manual_seed(self.plan.seed)
            self.xi = torch.empty(len(self.xi)).uniform_(*XI, generator=generator).to(self.xi)

    @property
    def sparse(self) -> Tensor:
        """Xi; when healing, gamma."""
        return self.xi if self.mask is None else self.scales.gamma()

    @property
    def dense(self) -> Tensor:
        """Gamma."""
        return self.scales.gamma()

    def proximal_step(self, lr: float) -> float:
        """1 / (alpha + beta)."""
        return 1 / (1 / lr + self.plan.beta)

    def drift(self, lr: float) -> float:
        """That of `palm_step`."""
        return palm_drift(lr, self.plan.beta)

    def move(self, lr: float) -> None:
        """PALM on gamma and xi."""
        gamma, self.xi = palm_step(self.scales.gamma(), self.xi, lr, self.plan.beta, self.penalty, self.kept)
        self.scales.write(gamma)

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {**super().state_dict(), "xi": self.xi}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        super().load_state_dict(state)
        self.xi = state["xi"].to(self.xi.device)
