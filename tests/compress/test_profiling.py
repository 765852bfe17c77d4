"""Two profiles side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from compress.bench.profiling import Profiles
from compress.bench.roofline import Roof, measure_roof
from compress.report.plots import roofline
from runtime import Settings
from runtime.profile import Op, Profile


def conv(name: str, width: int, read: int, size: int, seconds: float) -> Op:
    shapes = ((1, read, size, size), (width, read, 3, 3)), ((1, width, size, size),)
    return Op(name, "Conv", "cpu", seconds, *shapes, macs=9 * width * read * size * size, bytes=1)


def move(kind: str, seconds: float) -> Op:
    return Op(kind, kind, "cpu", seconds, ((1,),), ((1,),), macs=0, bytes=1)


BEFORE = (conv("a_nchwc", 64, 3, 32, 1e-3), conv("b_nchwc", 64, 64, 16, 4e-3), conv("c_nchwc", 64, 64, 8, 1e-3))
AFTER = (
    conv("a_nchwc", 64, 3, 32, 1e-3),
    move("ReorderOutput", 5e-4),
    conv("node_7", 30, 64, 16, 3e-3),
    conv("c_nchwc", 64, 30, 8, 4e-4),
)
ROOF = Roof(macs=5e9, bytes=1e9)


def profiles(before: tuple[Op, ...] | None, after: tuple[Op, ...]) -> Profiles:
    sides = [None if ops is None else Profile(ops, runs=5, arena_bytes=None) for ops in (before, after)]
    assert sides[1] is not None
    return Profiles(sides[0], sides[1], ROOF, "cpu")


def test_layers_are_matched_by_their_form_not_by_their_name() -> None:
    found = profiles(BEFORE, AFTER).layers
    assert [(each.name, each.before and each.before.width, each.after and each.after.width) for each in found] == [
        ("a", 64, 64),
        ("b", 64, 30),
        ("c", 64, 64),
    ]


def test_a_layer_that_is_gone_has_no_counterpart() -> None:
    found = profiles(BEFORE, AFTER[:1] + AFTER[3:]).layers
    assert [(each.name, each.after is None) for each in found] == [("a", False), ("b", True), ("c", False)]
    assert profiles(None, AFTER).layers[0].before is None


def test_it_says_why_a_model_is_not_faster() -> None:
    said = "\n".join(profiles(BEFORE, AFTER).why())
    assert (
        "ReorderOutput 0.500" in said and "0.000 ms (0% of the time) before, 0.500 ms (10% of the time) after" in said
    )
    assert "1 more convolutions run outside of the blocked layout" in said
    assert "1 layers gained less than their MACs promise; they take 3.000 ms" in said
    assert "the peak here is 5 GMAC/s" in said
    slow = profiles(BEFORE, AFTER).slowest
    assert [each.name for each in slow] == ["b", "a", "c"]


def test_nothing_is_blamed_on_a_copy_of_the_model() -> None:
    said = "\n".join(profiles(BEFORE, BEFORE).why())
    assert "outside" not in said and "promise" not in said and "MACs 100%, of the operators' time 100%" in said
    alone = "\n".join(profiles(None, BEFORE).why())
    assert "before" not in alone


def test_a_model_that_takes_no_time_is_no_error() -> None:
    said = "\n".join(profiles((), ()).why())
    assert "0.000 ms (0% of the time) before" in said


def test_kinds_are_summed_on_both_sides() -> None:
    kinds = {kind.name: kind for kind in profiles(BEFORE, AFTER).kinds}
    assert kinds["Conv"].count == (3, 3) and kinds["ReorderOutput"].count == (0, 1)
    assert kinds["ReorderOutput"].moves and not kinds["Conv"].moves


def test_the_roof_is_arithmetic_or_bytes() -> None:
    assert ROOF.attainable(1000, 1) == ROOF.macs
    assert ROOF.attainable(10, 1000) == ROOF.bytes / 100
    op = replace(AFTER[0], macs=5_000_000, seconds=1e-3)
    assert profiles(None, (op,)).share(op) == 1.0
    assert profiles(None, (op,)).rate(replace(op, seconds=0.0)) == 0.0


def test_the_roof_is_drawn_over_all_layers() -> None:
    axes = Figure().subplots()
    roofline(axes, profiles(BEFORE, AFTER), [("before", "C0"), ("after", "C1")])
    *dots, roof = axes.lines
    places, heights = roof.get_data()
    assert heights == pytest.approx(np.minimum(ROOF.macs, ROOF.bytes * np.array(places)) * 1e-9)
    assert [len(line.get_xdata()) for line in dots] == [3, 3]
    assert all(min(places) <= place <= max(places) for line in dots for place in line.get_xdata())


def test_what_is_written_is_json() -> None:
    written = json.loads(json.dumps(profiles(BEFORE, AFTER).to_dict(), allow_nan=False))
    assert written["layers"][1]["after"]["seconds"] == 3e-3 and written["roof"]["macs_per_second"] == 5e9


def test_the_peak_of_this_machine() -> None:
    roof = measure_roof(Settings(threads=1))
    assert 1e8 < roof.macs < 1e14 and 1e8 < roof.bytes < 1e14
