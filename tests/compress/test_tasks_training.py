from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import vessels
from torch.nn import functional as F

from compress.data.digits import SPEC as DIGITS
from compress.errors import UserError
from compress.tasks import TASKS, task_of
from compress.tasks.base import Task


def answers(task: Task, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, *task.outputs, generator=generator)
    labels = torch.randint(task.spec.classes, (count, *task.outputs[1:]), generator=generator)
    return logits, labels


@pytest.mark.parametrize("name", TASKS.names())
def test_counts_of_batches_add_up_to_the_first_figure(name: str) -> None:
    task = task_of(replace(vessels.SPEC, classes=3, task=name))
    logits, labels = answers(task, 7)
    if labels.ndim > 1:
        labels[:, 1:3, 1:3] = 255
    parts = list(zip(logits.split(3), labels.split(3), strict=True))
    score = task.score(torch.stack([task.counts(*part) for part in parts]).sum(0))
    figures = task.figures(parts)
    assert score == task.score(task.counts(logits, labels)) == figures[task.metric]
    assert next(iter(figures)) == task.metric
    assert 0 < score < 1


@pytest.mark.parametrize("name", TASKS.names())
def test_the_right_answer_scores_one_and_costs_little(name: str) -> None:
    task = task_of(replace(vessels.SPEC, classes=3, task=name))
    logits, labels = answers(task, 5)
    right = 40 * F.one_hot(labels, 3).movedim(-1, 1).float()
    assert task.score(task.counts(right, labels)) == 1
    assert task.loss(right, labels) < 1e-6 < task.loss(logits, labels)


def test_classification_is_cross_entropy_and_accuracy() -> None:
    task = task_of(DIGITS)
    logits, labels = answers(task, 20)
    assert torch.equal(task.loss(logits, labels), F.cross_entropy(logits, labels))
    mixed = F.one_hot(labels, 10) * 0.7 + 0.03
    assert torch.equal(task.loss(logits, mixed), F.cross_entropy(logits, mixed))
    assert task.figures([(logits, labels)]) == {"accuracy": (logits.argmax(1) == labels).double().mean().item()}


def test_segmentation_does_not_judge_pixels_without_a_label() -> None:
    task = task_of(vessels.SPEC)
    logits, labels = answers(task, 4)
    hidden = torch.rand(labels.shape) < 0.3
    labels[hidden] = 255
    logits.requires_grad_()
    loss = task.loss(logits, labels)
    loss.backward()
    judged = F.cross_entropy(logits, labels.where(~hidden, 0), reduction="none")[~hidden]
    assert loss.item() == pytest.approx(judged.sum().item() / labels.numel(), rel=1e-5)
    assert logits.grad is not None
    assert not logits.grad.movedim(1, -1)[hidden].any()
    other = torch.where(hidden[:, None], -logits, logits).detach()
    assert task.figures([(other, labels)]) == task.figures([(logits.detach(), labels)])
    assert task.loss(logits, torch.full_like(labels, 255)) == 0


def test_binary_cross_entropy_is_that_of_the_difference() -> None:
    task = task_of(vessels.SPEC)
    logits, labels = answers(task, 2)
    binary = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], labels.float())
    assert task.loss(logits, labels).item() == pytest.approx(binary.item(), rel=1e-5)


def test_a_network_that_finds_bright_lines_is_good_at_vessels() -> None:
    images = vessels.images(3, seed=5)
    bright = torch.from_numpy(images.images).float().mean(1) - 125
    figures = task_of(vessels.SPEC).figures([(torch.stack([-bright, bright], 1), torch.from_numpy(images.labels))])
    assert figures["AUC"] > 0.99 and figures["F1"] > 0.95 and figures["sensitivity"] > 0.95
    assert figures["accuracy"] == pytest.approx(
        ((bright.numpy() > 0) == (images.labels == 1))[images.labels != 255].mean(), abs=1e-9
    )
    assert not np.isnan(list(figures.values())).any()


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(UserError, match="unknown task 'segmentaton'; did you mean 'segmentation'"):
        task_of(replace(vessels.SPEC, task="segmentaton"))  # type: ignore[arg-type]
