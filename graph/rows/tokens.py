"""Tokens: rows that one mixer after the other looks at, and how many of them each token is there for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from graph.rows.facts import Mixer, RowTrace
from graph.rows.needs import Keep, needs

Depths = NDArray[np.int64]  #: per token, how many levels it is there for


@dataclass(frozen=True)
class Tokens:
    """A stream of tokens. A token that is gone stays gone: what one level leaves out, no later one looks at.

    Attributes:
        rows: the tokens, as rows of the trace.
        levels: mixers that could do with fewer, in the order of the network.
        least: for how many levels each token is needed, whatever attention looks at.
    """

    rows: NDArray[np.int64]
    levels: list[Mixer]
    least: Depths

    def keep(self, depths: Depths) -> Keep:
        """What every level looks at; for one token at least."""
        return {
            each.name: depths[np.searchsorted(self.rows, each.rows)] > level for level, each in enumerate(self.levels)
        }

    def fewest(self) -> Depths:
        """As few tokens as can be: one at least."""
        depths = self.least.copy()
        depths[depths.argmax()] = len(self.levels)
        return depths

    def nested(self) -> Depths:
        """Fewer tokens at every level than before, as far as there are enough of them."""
        return np.maximum(self.least, np.arange(self.rows.size)[::-1] % (len(self.levels) + 1))


def tokens(trace: RowTrace) -> Tokens | None:
    """The tokens that most mixers look at; None if there are none that could go.

    The first mixer looks at all of them: until there they are told apart by nothing but their place.
    """
    mixers = sorted(trace.mixers.values(), key=lambda mixer: _rows(mixer).tobytes())
    streams = [list(each) for _, each in groupby(mixers, key=lambda mixer: _rows(mixer).tobytes())]
    longest: list[Mixer] = max(streams, key=len, default=[])
    stream = sorted(longest, key=lambda mixer: mixer.node)
    if len(stream) < 2:
        return None
    rows, levels = _rows(stream[0]), stream[1:]
    need = needs(trace, {each.name: np.zeros(each.rows.size, np.bool_) for each in stream}, least=False)
    least = np.zeros(rows.size, np.int64)
    for level, mixer in enumerate(levels):
        for place, made in trace.places(mixer.name):
            if made.mixer is None:  # queries
                least[np.isin(rows, np.flatnonzero(need[place]))] = level + 1
    return Tokens(rows, levels, least) if (least < len(levels)).any() else None


def _rows(mixer: Mixer) -> NDArray[np.int64]:
    return np.unique(mixer.rows)
