"""Small charts as SVG, drawn in the colours of the page they stand in."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 24, 38  # margins
BINS = 40


@dataclass(frozen=True)
class Frame:
    """From values to places in the picture: both axes, with the ends rounded to a tick."""

    x: tuple[float, float]
    y: tuple[float, float]

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float], *, zero: bool = True) -> Frame:
        """The least frame that holds finite values, with y = 0 in it if ``zero``."""
        xs, ys = ([each for each in values if math.isfinite(each)] or [0.0, 1.0] for values in (xs, ys))
        ends = ticks(min([*ys, 0.0] if zero else ys), max(ys))
        return cls((min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1), (ends[0], ends[-1]))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        right = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        return round(right, 1), round(down, 1)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, about ``count`` of them."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, x: str, *, zero: bool = True) -> str:
    """One line per series of points (x, y)."""
    points = [point for each in series.values() for point in each]
    frame = Frame.around([x for x, _ in points], [y for _, y in points], zero=zero)
    marks = []
    for number, (name, each) in enumerate(series.items(), _first(series)):
        path = " ".join(f"{right},{down}" for right, down in (frame.at(*point) for point in each if _finite(point)))
        marks.append(f'<polyline class="line s{number}" points="{path}"><title>{escape(name)}</title></polyline>')
    return _chart(title, x, frame, marks, list(series))


def pairs(rows: Sequence[tuple[str, float, float]], title: str, x: str, names: Sequence[str]) -> str:
    """A bar per row (name, before, after): before behind after, which is drawn narrower."""
    frame = Frame.around([0, max(len(rows), 1)], [value for _, *values in rows for value in values])
    marks = []
    for place, (name, *values) in enumerate(rows):
        told = f"{name}: {' > '.join(f'{value:g}' for value in values)}"
        bars = [
            _bar(frame, place + edge, place + 1 - edge, value, number)
            for number, (value, edge) in enumerate(zip(values, (0.05, 0.25), strict=True))
        ]
        marks.append(f"<g><title>{escape(told)}</title>{''.join(bars)}</g>")
    return _chart(title, x, frame, marks, names)


def histograms(samples: Mapping[str, np.ndarray], title: str, x: str, *, high: float | None = None) -> str:
    """Shares of all samples per bin, from the least one up to ``high``, or to the largest."""
    low = min(float(each.min()) for each in samples.values())
    high = max(float(each.max()) for each in samples.values()) if high is None else high
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = {name: np.histogram(each, edges)[0] / len(each) * 100 for name, each in samples.items()}
    frame = Frame.around(edges.tolist(), [float(value) for each in shares.values() for value in each])
    marks = []
    for number, each in enumerate(shares.values(), _first(samples)):
        bars = zip(edges[:-1].tolist(), edges[1:].tolist(), each.tolist(), strict=True)
        marks += [_bar(frame, left, right, value, number) for left, right, value in bars if value]
    return _chart(title, x, frame, marks, list(samples))


def _first(series: Collection[str]) -> int:
    """Number of the first colour: the strong one, where there is no other series to stand out from."""
    return int(len(series) == 1)


def _bar(frame: Frame, left: float, right: float, value: float, number: int) -> str:
    (start, top), (end, bottom) = frame.at(left, value), frame.at(right, 0)
    size = f'width="{end - start:.1f}" height="{bottom - top:.1f}"'
    return f'<rect class="fill s{number}" x="{start}" y="{top}" {size}/>'


def _chart(title: str, x: str, frame: Frame, marks: Sequence[str], names: Sequence[str]) -> str:
    parts = [f'<text class="title" x="{LEFT}" y="14">{escape(title)}</text>']
    for value in ticks(*frame.y):
        if frame.y[0] <= value <= frame.y[1]:
            _, down = frame.at(frame.x[0], value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}"/>')
            parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{down + 4}">{value:.4g}</text>')
    for value in ticks(*frame.x):
        if frame.x[0] <= value <= frame.x[1]:
            right, down = frame.at(value, frame.y[0])
            parts.append(f'<text class="tick mid" x="{right}" y="{down + 15}">{value:.4g}</text>')
    parts += marks
    parts.append(f'<text class="tick mid" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x)}</text>')
    if len(names) > 1:
        parts += _legend(names)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> list[str]:
    parts, right = [], float(WIDTH - RIGHT)
    for number, name in reversed(list(enumerate(names))):
        right -= 7.2 * len(name) + 20
        parts.append(f'<rect class="fill s{number}" x="{right:.1f}" y="6" width="9" height="9"/>')
        parts.append(f'<text class="tick" x="{right + 13:.1f}" y="14">{escape(name)}</text>')
    return parts


def _finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))
