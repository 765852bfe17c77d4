"""Which tokens go, and where: step by step those that cost the answers least per work saved.

Patch Slimming (Tang et al., Patch Slimming for Efficient Vision Transformers, CVPR 2022) keeps nested sets of patches,
fewer from block to block, and drops those that matter least. This is an interpretation for networks that are trained
and stay as they are: the paper scores patches by products of attention maps and trains every block anew; here patches
are masked in a block and all above, and the answers are looked at, which sees the rest of the network, too. Without
training that keeps more accuracy: see docs/results/tokens.md.

Every look at the answers runs the network, so few are taken. Tokens go a few levels at a time, and if there are many,
several at once: such that lie far apart, since neighbours stand in for each other. A price that was found before other
tokens went is found anew only when it is the lowest (lazy greedy: Minoux, Accelerated greedy algorithms for maximizing
submodular set functions, 1978).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

import numpy as np

from compress.errors import UserError
from compress.progress import Progress
from graph.rows.forecast import Forecast
from graph.rows.needs import Keep
from graph.rows.tokens import Depths, Tokens

GROUPS = 24  # tokens go in so many groups at most
STEPS = 4  # from all levels to none
PERCENT = 100

Distance = Callable[[Depths], float]


class Chooser:
    """Tokens on their way out.

    Args:
        tokens: of the model.
        forecast: of its work, which knows the levels by the same names.
        distance: of the masked model's answers from its own.
        progress: told how far it is on the way to a goal, in percent.

    Attributes:
        depths: for how many levels each token is there.
        left: fraction of the work.
        far: distance of the answers.
    """

    def __init__(self, tokens: Tokens, forecast: Forecast, distance: Distance, progress: Progress) -> None:
        self.tokens, self.forecast, self.distance, self.progress = tokens, forecast, distance, progress
        levels = len(tokens.levels)
        self.fewest = self.work(tokens.fewest())
        self.depths: Depths = np.full(tokens.rows.size, levels)
        self.left, self.far, self.steps = self.work(self.depths), 0.0, 0
        self.stops = np.unique(np.round(np.linspace(0, levels, min(STEPS, levels) + 1)).astype(np.int64))
        free = np.flatnonzero(tokens.least < levels)
        self.groups = [free[start::GROUPS] for start in range(min(GROUPS, free.size))]
        #: By group the price of its next step, how many steps had been taken when it was found, and its distance.
        self.queue = [(-np.inf, -1, group, 0.0) for group in range(len(self.groups))]

    @property
    def keep(self) -> Keep:
        """What every level looks at."""
        return self.tokens.keep(self.depths)

    def work(self, depths: Depths) -> float:
        """The fraction that is left with tokens at these depths."""
        return self.forecast.left(self.tokens.keep(depths))

    def to_work(self, fraction: float) -> None:
        """Go down to a fraction of the work.

        Raises:
            UserError: the tokens that are needed in any case make more.
        """
        if self.fewest > fraction:
            raise UserError(f"--macs {fraction}: {self.fewest:.3f} of the MACs stay with as few tokens as can be")
        self.progress.start(PERCENT)
        start, told = self.left, 0
        while self.left > fraction and self.step():
            done = min(int(PERCENT * (start - self.left) / (start - fraction)), PERCENT)
            self.progress.update(done - told, macs=self.left, distance=self.far)
            told = done

    def to_error(self, error: float) -> None:
        """Go down as far as the answers stay within ``error``."""
        self.progress.start(len(self.groups) * (self.stops.size - 1))
        before = self.depths, self.left, self.far
        while self.step() and self.far <= error:
            before = self.depths, self.left, self.far
            self.progress.update(1, macs=self.left, distance=self.far)
        if self.far > error:
            self.depths, self.left, self.far = before

    def step(self) -> bool:
        """Let the cheapest group go down to its next stop; whether there is one that can."""
        while self.queue:
            _, found, group, far = heappop(self.queue)
            depths = self.without(group)
            if np.array_equal(depths, self.depths):
                continue
            work = self.work(depths)
            if found == self.steps:
                self.depths, self.left, self.far, self.steps = depths, work, far, self.steps + 1
                heappush(self.queue, (-np.inf, -1, group, 0.0))
                return True
            far = self.distance(depths)
            saved = max(self.left - work, np.finfo(np.float64).tiny)
            heappush(self.queue, ((far - self.far) / saved, self.steps, group, far))
        return False

    def without(self, group: int) -> Depths:
        """The depths if a group of tokens goes down to the next stop; one token stays in any case."""
        depths, own = self.depths.copy(), self.groups[group]
        below = self.stops[self.stops < depths[own].max()].max(initial=0)
        depths[own] = np.clip(below, self.tokens.least[own], depths[own])
        if depths.max() < self.stops[-1]:
            depths[own[0]] = self.stops[-1]
        return depths
