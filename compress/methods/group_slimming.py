"""Group slimming: proximal gradient on coupled channel groups, for models with or without BatchNorm.

Source of the penalty: Yuan and Lin, "Model Selection and Estimation in Regression with Grouped Variables", J. R. Stat.
Soc. B 68, 2006, equation 2.1; of its non-convex kin: Breheny and Huang, "Group Descent Algorithms for Nonconvex
Penalized Linear and Logistic Regression Models with Grouped Predictors", Stat. Comput. 25, 2015.
"""

from __future__ import annotations

from typing import Any

from compress.methods.base import METHODS, OnGroups
from compress.methods.proximal_gradient import Thresholding


@METHODS.register("group-slimming")
class GroupSlimming(OnGroups, Thresholding):
    """v <- v prox(m) / m for the elements v of every coupled group, where m = |v| / (sqrt(n) s) is its magnitude.

    With n elements in the group and s the first root mean square of its family, this is the prox of n s^2 p(m); for
    L1 of strength s sqrt(n) |v|, the group lasso, with the weights s that make it adaptive (Wang and Leng, Comput.
    Stat. Data Anal. 52, 2008). The groups are those that `graph.shrink` can remove (see `compress.bridge.coupling`).

    The weights keep their momentum m. Since a gradient then counts 1 / (1 - m) times, so does the penalty: the step of
    the prox is lr / (1 - m), and training comes to rest where the gradient of the loss is the penalty's slope.
    """

    def begin(self) -> None:
        """Note the momentum."""
        self.momentum: float = self.optimizer.param_groups[0]["momentum"]

    def proximal_step(self, lr: float) -> float:
        """The learning rate over 1 - momentum."""
        return lr / (1 - self.momentum)

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step, and the first sizes of the groups."""
        return {**super().state_dict(), "unit": self.groups.unit}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        super().load_state_dict(state)
        self.groups.unit = state["unit"].to(self.groups.unit.device)
