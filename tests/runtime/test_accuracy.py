from __future__ import annotations

import numpy as np
import pytest

from runtime.accuracy import accuracy, paired_accuracy
from runtime.differences import Differences
from runtime.errors import SessionError

SCORES = "g (float[{n},4] x) => (float[{n},4] y) {{ y = Identity(x) }}"


def data(n, right, seed=0):
    """One-hot scores [n, 4] of which those in ``right`` point at their label."""
    labels = np.random.default_rng(seed).integers(0, 4, n)
    shown = np.where(np.isin(np.arange(n), right), labels, (labels + 1) % 4)
    return np.eye(4, dtype=np.float32)[shown], labels


def split(x, y, size):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


@pytest.mark.parametrize("fixed", ["N", "1", "3"])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_right_answers_are_counted_whatever_the_batches(opened, fixed, size):
    x, y = data(10, right=[0, 3, 9])
    found = accuracy(opened(SCORES.format(n=fixed)), split(x, y, size))
    assert (found.count, found.total, found.percent) == (3, 10, 30.0)
    assert np.flatnonzero(found.correct).tolist() == [0, 3, 9]


def test_trailing_ones_are_no_classes(opened):
    session = opened("""g (float[N,4] x) => (float[N,4,1,1] y) <int64[4] s = {0, 4, 1, 1}> { y = Reshape(x, s) }""")
    x, y = data(6, right=range(5))
    assert accuracy(session, [(x, y)]).count == 5


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4] x) => (float[N] y) { y = ReduceMax<keepdims=0>(x, axes) }",
        "g (float[N,4] x) => (float[N,1] y) { y = ReduceMax(x, axes) }",
        "g (float[N,4] x) => (float[N,4,2] y) { u = Unsqueeze(x, two) y = Concat<axis=2>(u, u) }",
    ],
)
def test_outputs_that_are_no_class_scores_are_refused(opened, text):
    text = text.replace(" { ", " <int64[1] axes = {1}, int64[1] two = {2}> { ", 1)
    with pytest.raises(SessionError, match="one score per class"):
        accuracy(opened(text), [data(5, right=[])])


def test_no_images_no_accuracy(opened):
    session = opened(SCORES.format(n="N"))
    for nothing in ([], [data(0, right=[])]):
        with pytest.raises(SessionError, match="no labelled data"):
            accuracy(session, nothing)
    images, labels = data(5, right=[])
    with pytest.raises(SessionError, match="5 inputs with 4 labels"):
        accuracy(session, [(images, labels[:4])])


def test_pairs_are_counted_image_by_image(opened):
    always_class_0 = opened("g (float[N,4] x) => (float[N,4] y) <float[1,4] w = {9, 0, 0, 0}> { y = Add(x, w) }")
    x, y = data(40, right=range(40))
    differences = Differences(opened(SCORES.format(n="N")), always_class_0)
    pair = paired_accuracy(differences, iter(split(x, y, 7)))
    wrong = int((y != 0).sum())
    assert (pair.lost, pair.gained) == (wrong, 0)
    assert pair.drop == pytest.approx(100 * wrong / 40)
    assert pair.p_value == pytest.approx(2 * 0.5**wrong)
    assert differences.parity.inputs == 40 and differences.parity.outputs[0].mismatches == 40
    same = paired_accuracy(Differences(always_class_0, always_class_0), [(x, y)])
    assert (same.drop, same.p_value) == (0, 1)


def test_what_fills_up_a_fixed_batch_is_not_judged(opened):
    fixed, free = opened(SCORES.format(n="4")), opened(SCORES.format(n="N"))
    x, y = data(10, right=[0, 9])
    for pair in (Differences(fixed, free), Differences(free, fixed)):
        found = paired_accuracy(pair, [(x, y)])
        assert (found.reference.count, found.reference.total, pair.parity.inputs) == (2, 10, 10)
