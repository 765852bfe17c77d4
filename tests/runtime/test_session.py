from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from runtime.errors import SessionError
from runtime.session import PROVIDERS, Settings, open_session

DOUBLE = "g (float[N,3] x) => (float[N,3] y) { y = Add(x, x) }"


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def failure(model, settings=None) -> str:
    with pytest.raises(SessionError) as caught:
        open_session(model, settings)
    message = str(caught.value)
    assert "\n" not in message and "onnxruntime_src" not in message
    return message


def test_a_model_opens_alike_from_a_file_and_from_memory(build, tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = build(DOUBLE)
    for model in (data, written(tmp_path / "m.onnx", data)):
        session = open_session(model)
        assert session.provider == "CPUExecutionProvider"
        assert [(v.name, v.shape, v.dtype) for v in session.inputs] == [("x", ("N", 3), np.float32)]
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)


def test_every_level_of_optimisation_computes_the_same(build):
    x = np.ones((1, 3), np.float32)
    for level in ("off", "basic", "extended", "all"):
        assert (open_session(build(DOUBLE), Settings(threads=1, optimisation=level)).run({"x": x})["y"] == 2).all()


def test_unreadable_files_are_named_with_their_trouble(build, tmp_path):
    whole = build(DOUBLE)
    cases = {
        tmp_path / "nowhere.onnx": "No such file",
        tmp_path: "directory",
        written(tmp_path / "empty.onnx", b""): "empty",
        written(tmp_path / "short.onnx", whole[: len(whole) // 2]): "cut short",
        written(tmp_path / "text.onnx", b"hello, I am no model"): "not an ONNX file",
    }
    for path, trouble in cases.items():
        message = failure(path)
        assert str(path) in message and trouble in message
    assert "empty" in failure(b"")


def test_files_from_the_future_say_which_version_is_too_new(build):
    message = failure(build(DOUBLE, ir=99))
    assert "IR version 99" in message and re.search(r"up to \d+.*upgrade onnxruntime", message)
    message = failure(build(DOUBLE, opset=99))
    assert "opset 99" in message and re.search(r"up to \d+.*upgrade onnxruntime", message)


def test_an_unknown_operator_is_named(build):
    assert "NoSuchOp" in failure(build("g (float[3] x) => (float[3] y) { y = NoSuchOp(x) }"))


def test_settings_are_checked_before_anything_is_opened():
    for wrong in ({"provider": "gpu"}, {"optimisation": "max"}):
        with pytest.raises(SessionError, match=r"unknown.*valid:"):
            Settings(**wrong)
    with pytest.raises(SessionError, match="at least 1"):
        Settings(threads=0)


def test_a_provider_that_is_not_built_in_is_refused(build, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for provider in ("cuda", "tensorrt"):
        message = failure(build(DOUBLE), Settings(provider=provider))
        assert provider in message and "pip install" in message


def test_falling_back_to_the_cpu_in_silence_is_refused(build, monkeypatch, capfd):
    real = onnxruntime.InferenceSession

    def fallen_back(model, options, providers, **rest):
        return real(model, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS["tensorrt"]))
    assert "pip install" in failure(build(DOUBLE), Settings(provider="cuda"))
    assert capfd.readouterr() == ("", "")


def test_wrong_feeds_are_one_line_and_nothing_else_is_printed(build, capfd):
    session = open_session(build(DOUBLE))
    for feeds in (
        {},
        {"z": np.ones((1, 3), np.float32)},
        {"x": np.ones((1, 4), np.float32)},
        {"x": np.ones((1, 3), np.float64)},
        {"x": np.ones(3, np.float32)},
    ):
        for run in (session.run, lambda feeds: session.bound(feeds)()):
            with pytest.raises(SessionError) as caught:
                run(feeds)
            assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_tensor_of_numbers_has_no_dtype(build):
    session = open_session(build("g (float[3] x) => (seq(float[3]) y) { y = SequenceConstruct(x) }"))
    with pytest.raises(SessionError, match=r"'y' is a seq\(tensor\(float\)\)"):
        _ = session.outputs[0].dtype


@pytest.mark.gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_agrees_with_cpu(build, provider):
    try:
        session = open_session(build(DOUBLE), Settings(provider=provider))
    except SessionError as error:
        pytest.skip(str(error))
    x = np.ones((2, 3), np.float32)
    assert session.provider == PROVIDERS[provider][0]
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
    run = session.bound({"x": x})
    run()
    run()
