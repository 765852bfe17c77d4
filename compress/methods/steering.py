"""Which strength reaches a given number of zeros at a given step: a small closed loop.

In Proximal Network Slimming the pair (gamma, xi) drifts towards zero by ``strength * lr / (2 + beta lr)`` in
a step in which the loss has no say (see `drift`). So the strength for a distance is known beforehand, but for
the resistance of the loss, which is measured on the way: the part of the strength that made no movement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SMOOTHING = 0.9  # of the measured resistance: mini-batches are noisy
GENTLE = 1.1  # largest factor by which one correction changes the strength


def drift(lr: float, beta: float) -> float:
    """Movement of the pair (gamma, xi) in one step per unit of strength: 1 / (2 alpha + beta), alpha = 1/lr.

    Without a loss gradient the prox takes strength / (alpha + beta) off xi, and gamma follows xi at the lag
    that balances both: the common movement m satisfies m = beta/(alpha + beta) (gamma - xi) and
    m (alpha + beta) = strength - beta (gamma - m - xi), hence m = strength / (2 alpha + beta).
    """
    return 1 / (2 / lr + beta)


@dataclass(frozen=True)
class Steering:
    """State of the loop.

    Attributes:
        strength: weight of the penalty now.
        distance: how far the last channel that must go was from zero when last looked at.
        resistance: smoothed part of the strength that the loss's gradient ate.
    """

    strength: float
    distance: float
    resistance: float = 0.0


def start(distance: float, ahead: float) -> Steering:
    """The strength that covers ``distance`` in ``ahead``, the sum of `drift` over the planned steps."""
    return Steering(strength=distance / ahead, distance=distance)


def correct(state: Steering, distance: float, travelled: float, ahead: float) -> Steering:
    """The next strength, given what the last one achieved.

    Args:
        state: of the last look.
        distance: still to go now.
        travelled: sum of `drift` since the last look.
        ahead: sum of `drift` still planned; at least one more interval's worth, even when late.
    """
    measured = state.strength - (state.distance - distance) / travelled
    resistance = SMOOTHING * state.resistance + (1 - SMOOTHING) * measured
    wanted = distance / ahead + max(resistance, 0.0)
    strength = min(max(wanted, state.strength / GENTLE), state.strength * GENTLE)
    return replace(state, strength=strength, distance=distance, resistance=resistance)
