"""What the training loop asks of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from compress.data import Spec
from compress.registry import Registry

Answers: TypeAlias = Iterable[tuple[Tensor, Tensor]]
"""Logits [n, classes, ...] and labels [n, ...] of one batch after the other."""


class Task(ABC):
    """How the outputs of a network are judged.

    Attributes:
        metric: what `score` is called.
        spec: of the data.
    """

    metric: ClassVar[str]

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    @abstractmethod
    def outputs(self) -> tuple[int, ...]:
        """Sizes of the logits of one image."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar to be minimised, of logits [n, classes, ...] and labels [n, ...] or what was mixed of them."""

    @abstractmethod
    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What `score` needs to know of a batch, on its device; the counts of several batches add up."""

    @abstractmethod
    def score(self, counts: Tensor) -> float:
        """The one figure to be reported, from 0 to 1, of which more is better."""

    def figures(self, answers: Answers) -> dict[str, float]:
        """All figures of a test by name; the first one is the score."""
        return {self.metric: self.score(torch.stack([self.counts(*each) for each in answers]).sum(0))}


TASKS: Registry[type[Task]] = Registry("task")


def task_of(spec: Spec) -> Task:
    """The task that a data set is for."""
    return TASKS.get(spec.task)(spec)
