"""Which strength reaches a given number of zeros at a given step: a small closed loop.

Without a say of the loss, a step of a proximal method moves a scale towards zero by drift * slope: the drift depends on
the method and the learning rate, the slope is the penalty's at that scale. So the strength for a distance is known
beforehand, but for the resistance of the loss, which is measured on the way: the part of the strength that made no
movement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from compress.penalties import Penalty

SMOOTHING = 0.9  # of the measured resistance: mini-batches are noisy
GENTLE = 1.1  # largest factor by which one correction changes the strength


def effort(unit: Penalty, distance: float) -> float:
    """Drift after which a penalty of strength 1 has brought a scale from ``distance`` to zero.

    It is the distance divided by the mean slope on the way, ``p(distance) / distance``: for L1 the distance. For
    concave penalties that is a little too hopeful, but finite even where the slope is zero (beyond the edge of MCP,
    everywhere with L0); the loop makes up for it, and the growing strength gets there by the prox's jump.
    """
    return distance**2 / unit.value(torch.tensor(distance, dtype=torch.float64)).item() if distance else 0.0


@dataclass(frozen=True)
class Steering:
    """State of the loop.

    Attributes:
        strength: weight of the penalty now.
        distance: `effort` that the last channel that must go was from zero when last looked at.
        resistance: smoothed part of the strength that the loss's gradient ate.
    """

    strength: float
    distance: float
    resistance: float = 0.0


def start(distance: float, ahead: float) -> Steering:
    """The strength that covers ``distance``, an `effort`, in ``ahead``, the sum of the drift over the planned steps."""
    return Steering(strength=distance / ahead, distance=distance)


def correct(state: Steering, distance: float, travelled: float, ahead: float) -> Steering:
    """The next strength, given what the last one achieved.

    Args:
        state: of the last look.
        distance: `effort` still to go now.
        travelled: sum of the drift since the last look.
        ahead: sum of the drift still planned; at least one more interval's worth, even when late.
    """
    measured = state.strength - (state.distance - distance) / travelled
    resistance = SMOOTHING * state.resistance + (1 - SMOOTHING) * measured
    wanted = distance / ahead + max(resistance, 0.0)
    strength = min(max(wanted, state.strength / GENTLE), state.strength * GENTLE)
    return replace(state, strength=strength, distance=distance, resistance=resistance)
