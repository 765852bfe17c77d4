from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from runtime.differences import compare
from runtime.errors import SessionError
from runtime.feeds import random_feeds
from runtime.parity import Tolerance, compare_arrays

SCALE = "g (float[N,3] x) => (float[N,3] y) <float f = {%s}> { y = Mul(x, f) }"
FLOATS = arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(width=32))


def feeds(session, count=3):
    return [random_feeds(session, seed=seed) for seed in range(count)]


def test_a_model_agrees_with_itself(opened):
    session = opened(SCALE % "1.5")
    parity = compare(session, session, iter(feeds(session)))
    assert (parity.max_abs, parity.max_rel, parity.inputs) == (0, 0, 6)
    assert parity.outputs[0].rows == parity.outputs[0].argmax_equal == 6
    assert parity.within(0, 0)


def test_the_largest_difference_over_all_inputs_is_what_counts(opened):
    one, other = opened(SCALE % "1"), opened(SCALE % "1.01")
    batch = [{"x": np.array([[1, -2, 3]], np.float32)}, {"x": np.array([[-50, 0, 1]], np.float32)}]
    parity = compare(one, other, batch)
    assert parity.max_abs == pytest.approx(0.5, rel=1e-4)
    assert parity.max_rel == pytest.approx(0.01, rel=1e-4)
    assert parity.within(0.0101, 0) and parity.within(0, 0.51) and parity.within(0.005, 0.26)
    assert not parity.within(0.0099, 0) and not parity.within(0, 0.49)


def test_every_output_has_to_hold_on_its_own(opened):
    text = """g (float[N,2] x) => (float[N,2] small, float[N,2] large) <float f = {%s}, float k = {1000}>
    { small = Mul(x, f) large = Mul(x, k) }"""
    one, other = opened(text % "1"), opened(text % "1.1")
    parity = compare(one, other, feeds(one))
    narrow, wide = Tolerance(0.01, 0), Tolerance(0.2, 0)
    assert [output.within(0.01, 0) for output in parity.outputs] == [False, True]
    assert not parity.within(0.01, 0)
    assert [output.name for output in parity.beyond(narrow)] == ["small"]
    assert not parity.beyond(narrow, {"small": wide})
    assert [output.name for output in parity.beyond(wide, {"small": narrow})] == ["small"]


def test_integers_are_equal_or_not(opened):
    text = "g (int64[N,3] x) => (int64[N,3] y) <int64 k = {%s}> { y = Add(x, k) }"
    one, other = opened(text % "1000000"), opened(text % "1000001")
    parity = compare(one, other, feeds(one))
    assert parity.outputs[0].mismatches == parity.outputs[0].elements == 18
    assert not parity.within(1, 1e6)
    assert compare(one, one, feeds(one)).within(0, 0)


def test_different_interfaces_are_refused(opened):
    one = opened("g (float[N,3] x) => (float[N,3] y) { y = Identity(x) }")
    for other, message in {
        "g (float[N,3] x) => (float[N,3] z) { z = Identity(x) }": "outputs differ: y in .*z in",
        "g (float[N,3] u) => (float[N,3] y) { y = Identity(u) }": "inputs differ: x in .*u in",
        "g (float[N,4] x) => (float[N,4] y) { y = Identity(x) }": r"'x' is float\[N, 3\] in .*float\[N, 4\] in",
        "g (int64[N,3] x) => (float[N,3] y) { y = Cast<to=1>(x) }": r"'x' is float\[N, 3\] in .*int64\[N, 3\] in",
        "g (float[N,3] x) => (float[3,N] y) { y = Transpose(x) }": r"'y' is float32\[2, 3\].*float32\[3, 2\]",
        "g (float[N,3] x) => (int64[N,3] y) { y = Cast<to=7>(x) }": "'y' is float32.*int64",
    }.items():
        with pytest.raises(SessionError, match=message) as caught:
            compare(one, opened(other), feeds(one))
        assert "\n" not in str(caught.value)


def test_one_model_may_fix_what_the_other_leaves_open(opened):
    one, other = opened(SCALE % "1"), opened((SCALE % "1").replace("N", "2"))
    assert compare(one, other, feeds(one)).within(0, 0)
    assert compare(other, one, feeds(other)).within(0, 0)


def test_text_is_equal_or_not(opened):
    text = """g (int64[N] x) => (string[N] y) { k = Constant<value_strings = ["a", "%s"]>() y = Gather(k, x) }"""
    one, other = opened(text % "b"), opened(text % "c")
    batch = [{"x": np.array([0, 1, 1])}]
    assert compare(one, one, batch).within(0, 0)
    found = compare(one, other, batch)
    assert found.outputs[0].mismatches == 2 and not found.within(1, 1e6)


def test_means_and_angles_are_those_of_all_inputs_together():
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, 10, 3))
    halves = [compare_arrays("y", y[part], z[part]) for part in (slice(4), slice(4, 10))]
    found = halves[0].merge(halves[1])
    assert found.mean_abs == pytest.approx(np.abs(y - z).mean())
    assert found.mean_rel == pytest.approx(np.abs(y - z).mean() / np.abs(y).mean())
    assert found.cosine == pytest.approx((y * z).sum() / np.linalg.norm(y) / np.linalg.norm(z))
    assert compare_arrays("y", y, y).cosine == compare_arrays("y", 0 * y, 0 * y).cosine == 1
    assert np.isnan(compare_arrays("y", y, 0 * y).cosine)
    assert compare_arrays("y", y, -y).cosine == pytest.approx(-1)


def test_the_shapes_that_were_tried_are_told(opened):
    session = opened(SCALE % "1")
    batch = [random_feeds(session, batch=n) for n in (1, 2, 1)]
    assert [each["x"] for each in compare(session, session, batch).shapes] == [(1, 3), (2, 3)]


def test_no_inputs_prove_nothing(opened):
    session = opened(SCALE % "1")
    with pytest.raises(SessionError, match="no inputs"):
        compare(session, session, [])


def test_to_dict_is_valid_json_even_where_a_model_breaks_down(opened):
    one, other = opened(SCALE % "1"), opened(SCALE % "nan")
    parity = compare(one, other, feeds(one))
    assert not parity.within(1, 1e9)
    written = json.loads(json.dumps(parity.to_dict(), allow_nan=False))
    assert written["max_abs"] is None and written["provider"] == "CPUExecutionProvider"


@given(FLOATS)
def test_an_array_equals_itself_whatever_it_holds(y):
    found = compare_arrays("y", y, y.copy())
    assert found.max_abs == found.max_rel == found.mismatches == 0


@given(FLOATS, st.data())
def test_one_changed_element_is_always_seen(y, data):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in y.shape)
    changed = y.copy()
    changed[place] = data.draw(st.floats(width=32).filter(lambda v: v != y[place] and not np.isnan(v)))
    found = compare_arrays("y", y, changed)
    assert found.mismatches == 1
    finite = np.isfinite(y[place]) and np.isfinite(changed[place])
    expected = abs(float(y[place]) - float(changed[place])) if finite else np.inf
    assert found.max_abs == expected and not found.within(0, 0)


@given(FLOATS)
def test_merging_is_comparing_both_at_once(y):
    half = y / 2
    one, other = compare_arrays("y", y, half), compare_arrays("y", np.zeros_like(y), np.full_like(y, 3))
    merged = one.merge(other)
    assert merged == other.merge(one)
    assert merged.max_abs == max(one.max_abs, other.max_abs)
    assert merged.elements == one.elements + other.elements
