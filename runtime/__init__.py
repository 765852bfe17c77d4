"""Run ONNX files: do two of them agree, how accurate are they, how fast are they?"""

from runtime.accuracy import Accuracy, PairedAccuracy, accuracy, paired_accuracy
from runtime.bench import BenchResult, bench
from runtime.environment import channel_block, environment
from runtime.errors import SessionError
from runtime.feeds import batch_size, random_feeds, real_feeds
from runtime.measure import Plan, Samples, measure
from runtime.parity import OutputParity, Parity, compare
from runtime.session import Session, Settings, Value, open_session
from runtime.stats import Comparison, Interval, Summary, compare_times, summarise

__all__ = [
    "Accuracy",
    "BenchResult",
    "Comparison",
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
    "Value",
    "accuracy",
    "batch_size",
    "bench",
    "channel_block",
    "compare",
    "compare_times",
    "environment",
    "measure",
    "open_session",
    "paired_accuracy",
    "random_feeds",
    "real_feeds",
    "summarise",
]
