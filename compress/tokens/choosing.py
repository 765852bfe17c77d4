"""Which tokens go, and where: level by level from the top, always those that cost the answers least per work saved.

Patch Slimming (Tang et al., Patch Slimming for Efficient Vision Transformers, CVPR 2022) keeps nested sets of patches,
fewer from block to block, and drops those that matter least. This is an interpretation for networks that are trained
and stay as they are: the paper scores patches by products of attention maps and trains every block anew; here a patch
is masked in a block and all above, and the answers are looked at, which sees the rest of the network, too. Without
training that keeps more accuracy: see docs/results/tokens.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from compress.errors import UserError
from compress.progress import Progress
from graph.rows.forecast import Forecast
from graph.rows.needs import Keep
from graph.rows.tokens import Depths, Tokens

LOOKS = 50  # at what is left, on the way from all tokens at all levels to none, if there are so many

Distance = Callable[[Keep], float]


class Chooser:
    """Tokens on their way out.

    Args:
        tokens: of the model.
        forecast: of its work, which knows the levels by the same names.
        distance: of the masked model's answers from its own.
        progress: told about the tokens that were looked at.

    Attributes:
        depths: for how many levels each token is there.
        left: fraction of the work.
        far: distance of the answers.
    """

    def __init__(self, tokens: Tokens, forecast: Forecast, distance: Distance, progress: Progress) -> None:
        self.tokens, self.forecast, self.distance, self.progress = tokens, forecast, distance, progress
        self.fewest = forecast.left(tokens.keep(tokens.fewest()))
        self.settle(np.full(tokens.rows.size, len(tokens.levels)))

    @property
    def keep(self) -> Keep:
        """What every level looks at."""
        return self.tokens.keep(self.depths)

    def settle(self, depths: Depths) -> None:
        """Take these."""
        self.depths, self.left = depths, self.forecast.left(self.tokens.keep(depths))

    def to_work(self, fraction: float) -> None:
        """Go down to a fraction of the work.

        Raises:
            UserError: the tokens that are needed in any case make more.
        """
        if self.fewest > fraction:
            raise UserError(f"--macs {fraction}: {self.fewest:.3f} of the MACs stay with as few tokens as can be")
        while self.left > fraction:
            self.look(fraction)

    def to_error(self, error: float) -> None:
        """Go down as far as the answers stay within ``error``."""
        while self.left > self.fewest:
            steps = [self.depths, *self.look(self.fewest)]
            if self.distance(self.keep) > error:
                within = bisect_right(steps, error, lo=1, key=lambda depths: self.distance(self.tokens.keep(depths)))
                return self.settle(steps[within - 1])

    def look(self, goal: float) -> list[Depths]:
        """Mask every token at the last level that it is there for, and let the cheapest go; the depths after each."""
        far, prices = self.distance(self.keep), []
        for token in np.flatnonzero(self.depths > self.tokens.least).tolist():
            keep = self.tokens.keep(depths := self.without(token))
            if depths.max() == len(self.tokens.levels):  # something is left
                saved = max(self.left - self.forecast.left(keep), np.finfo(np.float64).tiny)
                prices.append(((self.distance(keep) - far) / saved, token))
            self.progress.update(1)
        steps: list[Depths] = []
        for _, token in sorted(prices)[: max(self.depths.size * len(self.tokens.levels) // LOOKS, 1)]:
            depths = self.without(token)
            if self.left > goal and depths.max() == len(self.tokens.levels):
                self.settle(depths)
                steps.append(depths)
        return steps

    def without(self, token: int) -> Depths:
        """The depths if a token is there for one level less."""
        depths = self.depths.copy()
        depths[token] -= 1
        return depths
