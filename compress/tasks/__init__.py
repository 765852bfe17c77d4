"""Tasks: what a network's outputs mean, how wrong they are in training and how good in the end."""

from compress.tasks import classification, segmentation
from compress.tasks.base import TASKS, Answers, Task, task_of

__all__ = ["TASKS", "Answers", "Task", "classification", "segmentation", "task_of"]
