from __future__ import annotations

import numpy as np
import pytest

from runtime.accuracy import accuracy
from runtime.errors import SessionError
from runtime.tasks import Task, named_task

RNG = np.random.default_rng(0)
MAP = RNG.integers(0, 3, (5, 6, 4))  # labels [n, H, W]
VOID = 255


def one_hot(labels, axis):
    return np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, axis)


def score(name, labels, scores, classes=None):
    return named_task(name, classes).score({"y": scores, "other": np.zeros(1)}, labels)


def iou(found, right):
    """Per image, the plain definition."""
    scores = []
    for one, two in zip(found, right, strict=True):
        one = np.where(two == VOID, VOID, one)
        both = [np.logical_and(one == c, two == c).sum() / np.logical_or(one == c, two == c).sum() for c in range(3)
                if ((one == c) | (two == c)).any()]  # fmt: skip
        scores.append(np.mean(both))
    return np.array(scores)


@pytest.mark.parametrize("axis", [1, -1])
def test_segmentation_is_scored_by_image_whatever_the_layout(axis):
    found = RNG.integers(0, 3, MAP.shape)
    np.testing.assert_allclose(score("segmentation", MAP, one_hot(found, axis)), iou(found, MAP))
    assert (score("segmentation", MAP, one_hot(MAP, axis)) == 1).all()


def test_what_has_no_class_is_not_judged():
    right = np.where(RNG.random(MAP.shape) < 0.5, VOID, MAP)
    found = RNG.integers(0, 3, MAP.shape)
    np.testing.assert_allclose(score("segmentation", right, one_hot(found, 1)), iou(found, right))
    np.testing.assert_allclose(score("segmentation", right.astype(np.uint8), one_hot(found, 1)), iou(found, right))
    assert (score("segmentation", np.full(MAP.shape, VOID), one_hot(found, 1)) == 1).all()


def test_classes_that_do_not_fit_are_refused():
    labels = np.array([0, 1, 3])
    with pytest.raises(SessionError, match="labels from 0 to 3 and the model 3 classes"):
        score("classification", labels, np.eye(3))
    for name, truth, scores in (("classification", labels % 3, np.eye(3)), ("segmentation", MAP, one_hot(MAP, 1))):
        with pytest.raises(SessionError, match="has 3 classes and the data 10"):
            score(name, truth, scores, classes=10)
    with pytest.raises(SessionError, match="one score per class"):
        score("segmentation", MAP, one_hot(MAP, 1)[:, :, 1:])
    with pytest.raises(SessionError, match=r"unknown task 'segmentaton'; did you mean 'segmentation'"):
        named_task("segmentaton")


def test_any_score_per_sample_is_a_task(opened):
    session = opened("g (float[2,3] x) => (float[2,3] y, float s) { y = Neg(x) s = ReduceSum<keepdims=0>(x) }")
    x = np.ones((5, 3), np.float32)
    judge = Task("closeness", lambda outputs, labels: 1 / (1 + np.abs(outputs["y"][:, 0] - labels)))
    found = accuracy(session, [(x, np.full(5, -1.0)), (x[:1], np.zeros(1))], judge)
    assert (found.metric, found.total, found.count) == ("closeness", 6, 5)
    assert found.percent == pytest.approx(100 * 5.5 / 6)


@pytest.mark.parametrize("wrong", [lambda outputs, labels: 1.0, lambda outputs, labels: np.full(5, np.nan)])
def test_a_task_that_gives_no_scores_is_refused(opened, wrong):
    session = opened("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }")
    with pytest.raises(SessionError, match="one number each"):
        accuracy(session, [(np.ones((5, 3), np.float32), np.zeros(5))], Task("m", wrong))
