from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.coldstart import cold_start
from runtime.errors import SessionError
from runtime.fresh import fresh
from runtime.settings import Settings

ONE = Settings(threads=1)
SMALL = "g (float[N,8] x) => (float[N,8] y) { y = Relu(x) }"


@pytest.fixture
def model(build, tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    path.write_bytes(build(SMALL))
    return path


def test_a_process_of_its_own_tells_phases_and_memory(model):
    found = fresh(model, {"x": np.ones((2, 8), np.float32)}, ONE, arena=True)
    assert min(found.load, found.create, found.first) > 0
    assert found.total == pytest.approx(found.load + found.create + found.first)
    assert found.peak_bytes is None or found.peak_bytes > found.resident_bytes
    assert found.device_bytes is None and found.arena_bytes >= 0


def test_inputs_of_any_name_arrive(build, tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(build(SMALL.replace("float[N,8] x", 'float[N,8] "file"').replace("Relu(x)", 'Relu("file")')))
    assert fresh(path, {"file": np.ones((1, 8), np.float32)}, ONE).first > 0


def test_what_fails_there_is_one_line_here(model, tmp_path):
    with pytest.raises(SessionError, match=r"missing.onnx does not run in a process of its own: cannot open") as caught:
        fresh(tmp_path / "missing.onnx", {}, ONE)
    assert "\n" not in str(caught.value)
    with pytest.raises(SessionError, match="does not run on these inputs"):
        fresh(model, {"x": np.ones((2, 9), np.float32)}, ONE)


def test_cold_starts_come_in_pairs(model):
    told = []
    found = cold_start(model, model, settings=ONE, rounds=2, progress=told.append)
    assert len(found.candidate) == len(found.reference) == 2 and told == [1, 2]
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["settings"]["mode"] == "cold-start" and written["settings"]["inputs"] == {"x": [1, 8]}
    assert written["comparison"]["verdict"] == "same"  # two rounds give no interval
    assert cold_start(model, settings=ONE, rounds=1).comparison is None
    with pytest.raises(SessionError, match="rounds = 0"):
        cold_start(model, settings=ONE, rounds=0)
