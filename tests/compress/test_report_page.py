"""Charts and pages: what a browser reads."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from compress.report import page, svg

EVIL = '</svg><script>alert("x")</script>&'


def drawn(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


@pytest.mark.parametrize(
    "picture",
    [
        svg.lines({EVIL: [(1, 0.5), (2, 0.7)], "b": [(1, 0.1)]}, EVIL, EVIL),
        svg.lines({"a": [(1, math.nan), (1, 3.0)]}, "one point", "x"),
        svg.lines({"a": []}, "nothing", "x"),
        svg.pairs([(EVIL, 64, 30), ("b", 0, 0)], "widths", "layer", ("before", "after")),
        svg.pairs([], "none", "layer", ("before", "after")),
        svg.histograms({"a": np.ones(5), "b": np.linspace(1, 2, 9)}, "h", "ms", high=1.5),
        svg.histograms({"a": np.ones(5)}, "h", "ms"),
    ],
)
def test_pictures_are_valid_and_their_marks_lie_inside(picture: str) -> None:
    root = drawn(picture)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    for element in root.iter():
        for name, limit in (("x", svg.WIDTH), ("y", svg.HEIGHT)):
            if name in element.attrib:
                assert -1 <= float(element.attrib[name]) <= limit
        for each in ("width", "height"):
            assert float(element.attrib.get(each, 0)) >= 0
        assert "nan" not in "".join(element.attrib.values()) and "inf" not in element.attrib.get("points", "")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0), (3, 3), (-2, 5), (1e-9, 3e-9), (0, 123456), (0.94, 0.97)])
def test_ticks_are_round_and_hold_the_values(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 8
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)


def test_what_lies_beyond_the_edge_still_counts() -> None:
    times = np.array([1.0] * 10 + [50.0] * 10)
    assert ">50</text>" in svg.histograms({"a": times}, "h", "ms", high=2.0)  # the tick of the bar: half of all


def test_taller_values_are_higher() -> None:
    bars = [
        float(each.attrib["height"])
        for each in drawn(svg.pairs([("a", 2, 1)], "t", "x", "ab")).iter()
        if each.attrib.get("class", "").startswith("fill") and each.attrib["width"] != "9"
    ]
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)


def test_a_page_stands_alone_and_runs_nothing() -> None:
    blocks = [page.text(EVIL), page.table([EVIL], [[EVIL]]), page.tiles({EVIL: EVIL}), page.details(EVIL, EVIL)]
    blocks += [page.charts(page.figure("", EVIL)), page.faint(EVIL)]
    made = page.page(EVIL, EVIL, {EVIL: blocks, "nothing": []})
    tags = Tags()
    tags.feed(made)
    assert not {"script", "link", "img", "iframe"} & set(tags.names) and "nothing" not in made
    assert not re.search(r"(href|src|url\()", made)
    assert "prefers-color-scheme: dark" in made and 'name="viewport"' in made
