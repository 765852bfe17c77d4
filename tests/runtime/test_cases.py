from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.cases import SEEDS, random_cases
from runtime.differences import Differences
from runtime.errors import SessionError
from runtime.session import open_session

IMAGE = "g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Identity(x) }"
STATES = "g (float[N,S] x, int64 sr, float[2,N,4] h) => (float[N,S] y) { y = Identity(x) }"


def shapes(session, **options):
    return [{name: array.shape for name, array in feeds.items()} for feeds in random_cases(session, **options)]


def test_open_sizes_take_turns(opened):
    found = [each["x"] for each in shapes(opened(IMAGE))]
    assert len(found) == SEEDS
    assert {batch for batch, *_ in found} == {1, 2, 3}
    assert len({size[2:] for size in found}) == 3 and any(height != width for _, _, height, width in found)


def test_all_seeds_differ(opened):
    cases = [feeds["x"] for feeds in random_cases(opened("g (float[2,3] x) => (float[2,3] y) { y = Identity(x) }"))]
    assert len({case.tobytes() for case in cases}) == SEEDS
    assert {case.shape for case in cases} == {(2, 3)}


def test_what_was_asked_for_does_not_vary(opened):
    found = shapes(opened(IMAGE), dims={"H": 8, "N": 5})
    assert {size["x"][0] for size in found} == {5} and {size["x"][2] for size in found} == {8}
    assert len({size["x"][3] for size in found}) > 1
    given = {"x": np.ones((2, 7), np.float32), "sr": np.array(16000)}
    cases = list(random_cases(opened(STATES), given=given))
    assert all((feeds["x"] == 1).all() and feeds["sr"] == 16000 and feeds["h"].shape == (2, 2, 4) for feeds in cases)
    assert len(list(random_cases(opened(IMAGE), given={"x": np.ones((1, 3, 4, 4), np.float32)}))) == 1


def test_shapes_that_a_model_does_not_run_are_left_out(opened):
    text = "g (float[N,S] x) => (float[N,M] y) <int64[2] s = {%s}> { y = Reshape(x, s) }"
    assert {each["x"] for each in shapes(opened(text % "1, 512"))} == {(1, 512)}  # the batch is baked in
    assert {each["x"] for each in shapes(opened(text % "-1, 4096"))} >= {(1, 4096), (2, 4096)}  # 512 is too short
    windows = "g (float[N,S] x) => (float[N,W,M] y) <int64[3] s = {0, -1, %s}> { y = Reshape(x, s) }"
    for length in (7, 15):
        found = {each["x"][1] % length for each in shapes(opened(windows % length))}
        assert found == {0}
    never = opened(text % "-1, 1000003")
    cases = list(random_cases(never))
    with pytest.raises(SessionError, match="does not run"):
        never.run(cases[0])


def test_a_candidate_that_fixes_sizes_is_fed_with_these(opened):
    fixed = opened("g (float[4,3,H,32] x) => (float[4,3,H,32] y) { y = Identity(x) }")
    for pair in (Differences(opened(IMAGE), fixed), Differences(fixed, opened(IMAGE))):
        for feeds in random_cases(pair.common):
            pair.run(feeds)
        assert {shape["x"][::3] for shape in pair.parity.shapes} == {(4, 32)}


def test_every_third_party_file_can_be_fed(shared_data):
    files = sorted((shared_data / "onnx").glob("*.onnx"))
    assert len(files) == 19
    for path in files:
        session = open_session(Path(path))
        differences = Differences(session, session)
        for feeds in random_cases(session, seeds=2):
            differences.run(feeds)
        assert differences.parity.within(0, 0), path.name
