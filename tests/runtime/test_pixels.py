from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from runtime.accuracy import accuracy, paired_accuracy
from runtime.differences import Differences
from runtime.pixels import Pixels, area_under_roc, counted
from runtime.tasks import named_task

RNG = np.random.default_rng(0)


def pixels(scores, labels):
    return Pixels.of(np.asarray(scores), np.asarray(labels))


@pytest.mark.parametrize("decimals", [1, 3, 9], ids=["many ties", "some ties", "no ties"])
def test_area_under_the_curve_is_that_of_scikit_learn(decimals):
    scores = RNG.normal(size=5000).round(decimals).astype(np.float32)
    truth = RNG.random(5000) < 1 / (1 + np.exp(-scores))
    assert area_under_roc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    assert area_under_roc(-scores, truth) == pytest.approx(1 - metrics.roc_auc_score(truth, scores), abs=1e-12)


def test_figures_of_two_classes_are_those_of_scikit_learn_on_judged_pixels():
    scores, labels = RNG.normal(size=(4, 2, 9, 7)), RNG.choice([0, 1, 255], (4, 9, 7))
    judged = labels != 255
    truth, found = labels[judged], scores.argmax(1)[judged]
    figures = pixels(scores, labels).figures()
    assert figures == pytest.approx(
        {
            "F1": metrics.f1_score(truth, found),
            "IoU": metrics.jaccard_score(truth, found),
            "accuracy": metrics.accuracy_score(truth, found),
            "sensitivity": metrics.recall_score(truth, found),
            "specificity": metrics.recall_score(truth, found, pos_label=0),
            "AUC": metrics.roc_auc_score(truth, (scores[:, 1] - scores[:, 0])[judged]),
        }
    )
    assert next(iter(figures)) == "F1"


def test_figures_of_more_classes_are_means_over_those_that_are_met():
    scores, labels = RNG.normal(size=(4, 5, 9, 7)), RNG.integers(0, 4, (4, 9, 7))
    scores[:, 4] = -9  # neither there nor predicted
    truth, found = labels.ravel(), scores.argmax(1).ravel()
    assert pixels(scores, labels).figures() == pytest.approx(
        {
            "F1": metrics.f1_score(truth, found, average="macro"),
            "IoU": metrics.jaccard_score(truth, found, average="macro"),
            "accuracy": metrics.accuracy_score(truth, found),
        }
    )


def test_pooled_is_as_if_all_images_were_one_batch():
    scores, labels = RNG.normal(size=(6, 2, 5, 5)).astype(np.float32), RNG.choice([0, 1, 255], (6, 5, 5))
    parts = [pixels(scores[part], labels[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert Pixels.pool(parts).figures() == pixels(scores, labels).figures()


def test_nothing_to_find_and_nothing_found_is_perfect():
    nothing = np.array([[7, 0], [0, 0]])
    assert counted(nothing) == {"F1": 1, "IoU": 1, "accuracy": 1, "sensitivity": 1, "specificity": 1}
    assert counted(nothing.T[::-1, ::-1])["F1"] == 1
    assert counted(np.array([[5, 2], [0, 0]]))["F1"] == 0
    assert set(counted(np.zeros((2, 2), np.int64)).values()) == {1.0}
    assert "AUC" not in pixels(RNG.normal(size=(1, 2, 3, 3)), np.zeros((1, 3, 3), int)).figures()


@pytest.mark.parametrize("fixed", ["N", "4"], ids=["open batch", "batch of 4"])
def test_both_models_are_judged_on_all_pixels(opened, fixed):
    shapes = f"float[{fixed},2,5,4]"
    model = opened(f"g ({shapes} x) => ({shapes} y) {{ y = Identity(x) }}")
    worse = opened(f"g ({shapes} x) => ({shapes} y) {{ y = Neg(x) }}")
    x, labels = RNG.normal(size=(6, 2, 5, 4)).astype(np.float32), RNG.choice([0, 1, 255], (6, 5, 4))
    batches = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    found = paired_accuracy(Differences(model, worse), batches, named_task("segmentation", 2))
    assert found.reference.figures == pixels(x, labels).figures()
    assert found.candidate.figures == pixels(-x, labels).figures()
    assert accuracy(model, batches, named_task("segmentation")).figures == found.reference.figures
