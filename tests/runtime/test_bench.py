from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.bench import bench
from runtime.environment import environment
from runtime.errors import SessionError
from runtime.measure import Plan
from runtime.session import Settings
from runtime.stats import compare_times, summarise

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
    assert set(written) == {"schema", "environment", "settings", "samples", "summary", "comparison"}
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
    with pytest.raises(SessionError, match="different inputs"):
        bench(build(SMALL), build(SMALL.replace("x", "u")), plan=BRIEF)
    with pytest.raises(SessionError, match="does not run on these inputs"):
        bench(build(SMALL), build(SMALL.replace("8", "9")), plan=BRIEF)


def test_the_environment_is_known_and_can_be_written():
    found = environment()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["cores"] >= found["usable_cores"] >= 1
    assert found["onnxruntime"] and found["python"]


@pytest.mark.gpu
def test_bench_on_a_gpu(build):
    try:
        result = bench(build(SMALL), build(LARGE), settings=Settings(provider="cuda"), batch=8, plan=BRIEF)
    except SessionError as error:
        pytest.skip(str(error))
    assert result.settings["onnxruntime_provider"] == "CUDAExecutionProvider"
    assert result.comparison.verdict == "faster"
