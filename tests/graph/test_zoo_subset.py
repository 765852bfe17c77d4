"""The small networks of the zoo: half of the channels that each offers, zeroed at random, all go, and nothing changes.

The whole zoo: ``python -m tests.benchmarks.zoo``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.zoo.micro_nets import MICRO
from tests.benchmarks.zoo.one import measure
from tests.benchmarks.zoo.prepare import prepare
from tests.benchmarks.zoo.report import status

SMALL = ["resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"]


@pytest.mark.parametrize("name", [*MICRO, *SMALL])
def test_half_of_the_channels_go(name: str, tmp_path: Path) -> None:
    row = measure(prepare(name), tmp_path)
    assert status(row) == "ok"
    assert row["zeroed"] and row["left"] < 0.9 * row["parameters"]
