"""Variational slimming, an interpretation of Zhao et al., "Variational Convolutional Neural Network Pruning".

Source: CVPR 2019. From there: BatchNorm is written as s (x_hat + c), so that the saliency s of a channel
multiplies its shift too; s is N(m, sigma^2), sampled anew in every step; the loss has a Kullback-Leibler term
that pulls it to a zero-mean and almost certain prior; channels whose saliency is almost certainly zero go,
without fine-tuning. The authors published no code. Ours are: the prior N(0, 0.01^2), the strength of the term,
the rule |m| <= 0.02, and the first values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS, OnScales, Plan

PRIOR = 0.01  # standard deviation of the prior, and first sigma
INSIGNIFICANT = 2 * PRIOR
AUTO = 1e-6  # pulls a saliency of 0.5 with a slope of 5e-3, about what proximal slimming needs


@METHODS.register("variational-slimming")
class VariationalSlimming(OnScales):
    """Minimises E_s L + strength sum KL(N(m, sigma^2) | N(0, PRIOR^2)) by sampling s once in every step.

    In training gamma = s and b = s c during a pass, otherwise gamma = m and b = m c. The term takes the place of a
    penalty. With a strength ``finish`` zeroes the channels with |m| <= 0.02; strength "auto" is 1e-6, and ``finish``
    zeroes the smallest |m| of all layers until the target is met or every layer is at its floor.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin with m = gamma and c = b / gamma, or c = 0 where gamma is insignificant."""
        super().setup(model, optimizer, plan)
        self.strength = AUTO if plan.strength is None else plan.strength
        m, b = self.scales.gamma(), self.scales.shift()
        self.shift = nn.Parameter(torch.where(m.abs() > INSIGNIFICANT, b / m, 0))  # c
        self.log_sigma = nn.Parameter(torch.full_like(m, PRIOR).log())
        optimizer.add_param_group({"params": [self.shift, self.log_sigma], "weight_decay": 0.0})
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.finished = False
        self.noise: Tensor | None = None  # of a step, whose passes all have the same
        self._write(m)
        model.register_forward_pre_hook(self._sample)

    @torch.no_grad()
    def _sample(self, model: nn.Module, inputs: Any) -> None:
        """Draw the saliencies of a pass in training."""
        if model.training and not self.finished and self.noise is None:
            self.m = self.scales.gamma()
            self.noise = torch.randn(len(self.scales), generator=self.generator).to(self.m)
            self._write(self.m + self.log_sigma.exp() * self.noise)

    @torch.no_grad()
    def after_backward(self) -> None:
        """Gradients of m, c and log sigma from those of the sampled gamma and b, and of the KL term."""
        layers = self.scales.layers.values()
        s, sigma = self.scales.gamma(), self.log_sigma.exp()
        b_grad = _gradient([layer.bias for layer in layers])
        s_grad = _gradient([layer.weight for layer in layers]) + self.shift * b_grad
        m_grad = s_grad + self.strength * self.m / PRIOR**2
        self.shift.grad = s * b_grad
        assert self.noise is not None
        self.log_sigma.grad = s_grad * sigma * self.noise + self.strength * (sigma.square() / PRIOR**2 - 1)
        for layer, part in zip(layers, torch.split(m_grad, self.scales.sizes), strict=True):
            layer.weight.grad, layer.bias.grad = part, None
        self.noise = None
        self._write(self.m)

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """The shifts that belong to the new m and c."""
        if not self.finished:
            self._write(self.scales.gamma())

    def zeros(self) -> dict[str, Tensor]:
        """Channels that are zero; with a given strength those that `finish` would zero."""
        return super().zeros() if self.finished or self.plan.strength is None else self.scales.by_family(self._chosen())

    def finish(self) -> bool:
        """Zero the channels whose saliency is insignificant, or the smallest."""
        if self.finished:
            return False
        self.finished = True
        mask = self._chosen()
        self.scales.hold_zero(mask, self.optimizer)
        return bool(mask.any())

    def figures(self) -> dict[str, float]:
        """The mean saliency and the mean of its standard deviations."""
        return {"scale": self.scales.gamma().abs().mean().item(), "sigma": self.log_sigma.exp().mean().item()}

    def reached_by(self) -> str:
        """By the threshold, if the target was asked for."""
        return "threshold" if self.plan.strength is None else ""

    def state_dict(self) -> dict[str, Any]:
        """What the model and the optimiser do not hold."""
        return {
            "shift": self.shift.detach(),
            "log_sigma": self.log_sigma.detach(),
            "generator": self.generator.get_state(),
            "finished": self.finished,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.shift.copy_(state["shift"])
        self.log_sigma.copy_(state["log_sigma"])
        self.generator.set_state(state["generator"].cpu())
        self.finished = state["finished"]

    def _write(self, gamma: Tensor) -> None:
        self.scales.write(gamma, gamma * self.shift)

    def _chosen(self) -> Tensor:
        score = self.scales.gamma().abs()
        if self.plan.strength is None:
            return self.scales.weakest(score, round(self.plan.target * len(self.scales)))
        return self.scales.unemptied(score <= INSIGNIFICANT, score)


def _gradient(parameters: list[nn.Parameter]) -> Tensor:
    """The gradients of all ``parameters`` in one vector; zero where there is none."""
    return torch.cat([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
