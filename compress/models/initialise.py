"""How the Network Slimming family starts."""

from __future__ import annotations

from torch import nn


def initialise(model: nn.Module) -> None:
    """He initialisation by fan-out, BatchNorm scales 0.5 and shifts 0, in place.

    Scales of 0.5 gave Liu et al., Network Slimming (ICCV 2017), section 4.2, better baselines than 1.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
            nn.init.zeros_(module.bias)
