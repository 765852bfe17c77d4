"""The learning rate of every step, as a pure function."""

from __future__ import annotations

import math
from typing import Literal, assert_never

Schedule = Literal["step", "cosine", "constant"]


def learning_rate(step: int, steps: int, base: float, schedule: Schedule) -> float:
    """Learning rate of optimiser step ``step`` of ``steps``, counted from 0.

    * ``step``: a tenth from 50 % of the steps, a hundredth from 75 % (Liu et al., ICCV 2017, section 4).
    * ``cosine``: half a period down to zero (Loshchilov and Hutter, ICLR 2017, equation 5).
    * ``constant``: the base rate.
    """
    match schedule:
        case "step":
            drops = (2 * step >= steps) + (4 * step >= 3 * steps)
            return base * 0.1**drops
        case "cosine":
            return base * 0.5 * (1 + math.cos(math.pi * step / steps))
        case "constant":
            return base
        case _:
            assert_never(schedule)
