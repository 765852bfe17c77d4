from __future__ import annotations

import hashlib
import json
import threading

import numpy as np
import pytest

from runtime.bench import bench
from runtime.environment import environment
from runtime.errors import SessionError
from runtime.measure import Plan
from runtime.session import Settings
from runtime.stats import compare_times, summarise
from runtime.throughput import block

BRIEF = Plan(rounds=6, min_time=0, min_pairs=30, max_time=2, precision=10, warmup_time=0, warmup_runs=1)
THREAD = Settings(threads=1)
SMALL = "g (float[N,8] x) => (float[N,8] y) { y = Relu(x) }"
LARGE = (
    "g (float[N,8] x) => (float[N,8] y) { "
    + " ".join(f"t{i} = Sin({f't{i - 1}' if i else 'x'})" for i in range(300))
    + " y = Relu(t299) }"
)


def test_the_file_holds_the_samples_that_its_statements_come_from(build, tmp_path):
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    small.write_bytes(build(SMALL))
    large.write_bytes(build(LARGE))
    result = bench(small, large, settings=THREAD, batch=4, plan=BRIEF)
    written = json.loads(result.to_json())
    assert written["schema"] == 1
    assert set(written) == {"schema", "environment", "settings", "samples", "summary", "comparison", "parity"}
    assert written["settings"]["candidate"] == str(small) and written["settings"]["reference"] == str(large)
    assert written["settings"]["inputs"] == {"x": [4, 8]} and written["settings"]["threads"] == 1
    samples = {key: np.array(value) for key, value in written["samples"].items() if isinstance(value, list)}
    assert {len(column) for column in samples.values()} == {30}
    again = compare_times(samples["reference"], samples["candidate"], samples["round"])
    assert again.ratio.estimate == pytest.approx(result.comparison.ratio.estimate, rel=1e-3)
    assert again.verdict == result.comparison.verdict
    assert summarise(samples["candidate"]).median == pytest.approx(1e9 * result.candidate.median, rel=1e-3)


def test_ratio_is_the_speedup_of_the_first_model(build):
    """300 operators against 1: no clock is bad enough to turn this round."""
    assert bench(build(SMALL), build(LARGE), settings=THREAD, plan=BRIEF).comparison.verdict == "faster"
    assert bench(build(LARGE), build(SMALL), settings=THREAD, plan=BRIEF).comparison.verdict == "slower"


def test_a_single_model_has_no_comparison(build):
    result = bench(build(SMALL), settings=THREAD, plan=BRIEF)
    written = json.loads(result.to_json())
    assert result.comparison is None and result.reference is None
    assert written["comparison"] is None and written["samples"]["reference"] is None
    assert written["settings"]["inputs"] == {"x": [1, 8]}


def test_too_few_rounds_are_still_valid_json(build):
    plan = Plan(rounds=1, min_time=0, min_pairs=1, max_time=0, warmup_time=0, warmup_runs=1)
    written = json.loads(bench(build(SMALL), build(SMALL), settings=THREAD, plan=plan).to_json())
    comparison = written["comparison"]
    assert comparison["verdict"] == "same"
    assert (comparison["ratio"]["low"], comparison["ratio"]["high"]) == (0.0, None)


def test_a_fixed_batch_is_kept_and_another_one_refused(build):
    fixed = build(SMALL.replace("N", "2"))
    result = bench(fixed, settings=THREAD, plan=BRIEF)
    assert result.settings["inputs"] == {"x": [2, 8]}
    with pytest.raises(SessionError, match="fixed to batch 2 and cannot run 8"):
        bench(fixed, settings=THREAD, batch=8, plan=BRIEF)


def test_models_of_different_inputs_are_refused(build):
    with pytest.raises(SessionError, match="inputs differ: u in the reference, x"):
        bench(build(SMALL), build(SMALL.replace("x", "u")), plan=BRIEF)
    with pytest.raises(SessionError, match="compare two versions of one model"):
        bench(build(SMALL), build(SMALL.replace("8", "9")), plan=BRIEF)


def test_the_environment_is_known_and_can_be_written():
    found = environment()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["cores"] >= found["usable_cores"] >= 1
    assert found["onnxruntime"] and found["python"]


def test_models_are_known_by_their_hash_and_agreement_is_measured_first(build, tmp_path):
    small = tmp_path / "small.onnx"
    small.write_bytes(build(SMALL))
    result = bench(small, build(LARGE), settings=THREAD, plan=BRIEF)
    files = result.settings["files"]
    assert files["candidate"] == {
        "sha256": hashlib.sha256(small.read_bytes()).hexdigest(),
        "bytes": small.stat().st_size,
    }
    assert files["reference"]["sha256"] == hashlib.sha256(build(LARGE)).hexdigest()
    assert result.parity.max_abs > 0 and result.to_dict()["parity"]["max_abs"] == result.parity.max_abs
    assert bench(small, small, settings=THREAD, plan=BRIEF).parity.max_abs == 0


def test_inputs_can_be_given(build):
    text = "g (int64[N] i) => (float[N] y) <float[3] t = {1.0, 2.0, 3.0}> { y = Gather(t, i) }"
    model, wrong = build(text), np.array([7])
    assert bench(model, settings=THREAD, given={"i": np.array([2, 2])}, plan=BRIEF).settings["inputs"] == {"i": [2]}
    assert bench(model, settings=THREAD, dims={"N": 5}, plan=BRIEF).settings["inputs"] == {"i": [5]}
    with pytest.raises(SessionError, match="does not run on these inputs"):
        bench(model, settings=THREAD, given={"i": wrong}, plan=BRIEF)


def test_throughput_counts_the_inferences_of_all_streams(build):
    result = bench(build(SMALL), build(LARGE), settings=THREAD, batch=4, streams=2, plan=BRIEF)
    written = result.to_dict()
    assert written["settings"]["mode"] == "throughput" and written["settings"]["streams"] == 2
    assert result.inferences % 2 == 0 and result.rows == 4
    assert written["summary"]["rows_per_second"][0] == pytest.approx(4 * result.inferences / result.candidate.median)
    assert result.comparison.verdict != "slower"


def test_a_block_runs_every_stream_at_once_and_raises_what_fails():
    meeting, calls = threading.Barrier(3, timeout=10), []

    def run():
        meeting.wait()
        calls.append(threading.get_ident())

    block([run] * 3, 4)()
    assert len(calls) == 12 and len(set(calls)) == 3
    with pytest.raises(ZeroDivisionError):
        block([lambda: 1 // 0], 1)()


def test_transfers_are_a_mode_of_latency(build):
    result = bench(build(SMALL), settings=THREAD, transfers=True, plan=BRIEF)
    assert result.settings["transfers"] and result.candidate.median > 0


@pytest.mark.gpu
def test_bench_on_a_gpu(build):
    try:
        result = bench(build(SMALL), build(LARGE), settings=Settings(provider="cuda"), batch=8, plan=BRIEF)
    except SessionError as error:
        pytest.skip(str(error))
    assert result.settings["onnxruntime_provider"] == "CUDAExecutionProvider"
    assert result.comparison.verdict == "faster"
