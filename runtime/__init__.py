"""Run ONNX files: do two of them agree, how accurate are they, how fast are they?"""

from runtime.accuracy import Accuracy, PairedAccuracy, accuracy, paired_accuracy
from runtime.bench import BenchResult, bench
from runtime.cases import random_cases
from runtime.differences import Differences, compare
from runtime.environment import environment
from runtime.errors import SessionError
from runtime.feeds import batch_size, random_feeds, real_feeds
from runtime.measure import Plan, Samples, measure
from runtime.parity import OutputParity, Parity, Tolerance
from runtime.session import Session, Value, open_session
from runtime.settings import Settings
from runtime.stats import Comparison, Interval, Summary, compare_times, summarise
from runtime.tasks import Task, named_task

__all__ = [
    "Accuracy",
    "BenchResult",
    "Comparison",
    "Differences",
    "Interval",
    "OutputParity",
    "PairedAccuracy",
    "Parity",
    "Plan",
    "Samples",
    "Session",
    "SessionError",
    "Settings",
    "Summary",
    "Task",
    "Tolerance",
    "Value",
    "accuracy",
    "batch_size",
    "bench",
    "compare",
    "compare_times",
    "environment",
    "measure",
    "named_task",
    "open_session",
    "paired_accuracy",
    "random_cases",
    "random_feeds",
    "real_feeds",
    "summarise",
]
