from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from runtime.bench import bench
from runtime.errors import SessionError
from runtime.providers import fallen_back, placement, provider_chain
from runtime.session import check_free_dims, open_session
from runtime.settings import Settings

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
    for wrong in ({"provider": "gpu"}, {"optimisation": "max"}, {"cudnn_search": "long"}):
        with pytest.raises(SessionError, match=r"unknown.*valid:"):
            Settings(**wrong)
    for wrong in ({"threads": 0}, {"free_dims": {"N": 0}}):
        with pytest.raises(SessionError, match="at least 1"):
            Settings(**wrong)
    for threads, affinity in ((None, "2"), (1, "2"), (2, "0"), (2, "two"), (3, "2"), (2, "2;3"), (2, "")):
        with pytest.raises(SessionError, match="affinity = "):
            Settings(threads=threads, affinity=affinity)
    with pytest.raises(SessionError, match="this machine has the processors 1 to "):
        Settings(threads=2, affinity="9999")
    with pytest.raises(SessionError, match="cuda_graph needs"):
        Settings(cuda_graph=True)
    with pytest.raises(SessionError, match="gpu = 1 needs the provider cuda or tensorrt, not cpu"):
        Settings(gpu=1)


def test_every_setting_reaches_onnxruntime_and_the_description(build, monkeypatch):
    seen = {}
    real = onnxruntime.InferenceSession

    def spied(model, options, **rest):
        seen.update(
            {
                "threads": options.intra_op_num_threads,
                "spinning": options.get_session_config_entry("session.intra_op.allow_spinning"),
                "affinity": options.get_session_config_entry("session.intra_op_thread_affinities"),
            }
        )
        return real(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spied)
    settings = Settings(threads=2, spinning=False, affinity="1", free_dims={"N": 5})
    session = open_session(build(DOUBLE), settings)
    assert seen == {"threads": 2, "spinning": "0", "affinity": "1"}
    assert session.inputs[0].shape == (5, 3)
    told = json.loads(json.dumps(session.describe()))
    assert told.items() >= {"threads": 2, "spinning": False, "affinity": "1", "free_dims": {"N": 5}}.items()
    assert told["onnxruntime_provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_is_taken_by_its_number(provider, build, monkeypatch):
    seen = {}

    def spied(model, options, *, providers, **rest):
        seen.update(providers)
        raise RuntimeError("no GPU here")

    everywhere = [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU")]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everywhere)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", spied)
    with pytest.raises(SessionError, match="no GPU here"):
        open_session(build(DOUBLE), Settings(provider, gpu=3))
    assert {name: options.get("device_id") for name, options in seen.items()} == {
        **({"TensorrtExecutionProvider": "3"} if provider == "tensorrt" else {}),
        "CUDAExecutionProvider": "3",
        "CPUExecutionProvider": None,
    }


def test_a_size_that_is_not_there_is_not_fixed_in_silence(build):
    check_free_dims(build(DOUBLE), Settings(free_dims={"N": 5}))
    for use in (check_free_dims, bench):
        with pytest.raises(SessionError, match="no dynamic size 'M'; it has: N"):
            use(build(DOUBLE), settings=Settings(free_dims={"N": 5, "M": 2}))


def test_the_provider_of_every_node_is_known(build):
    session = open_session(build("g (float[N,3] x) => (float[N,3] y) { a = Relu(x) b = Relu(a) y = Add(b, x) }"))
    assert session.nodes == {"CPUExecutionProvider": {"Add": 1, "Relu": 2}}


def test_where_nodes_ran_is_said_in_words():
    nodes = {"CPUExecutionProvider": {"Shape": 2}, "CUDAExecutionProvider": {"Conv": 1000, "Relu": 9}}
    assert placement(nodes) == "2 nodes on cpu, 1,009 nodes on cuda"


def test_what_falls_back_to_the_cpu_is_told_from_what_belongs_there():
    nodes = {"CUDAExecutionProvider": {"Conv": 9}, "CPUExecutionProvider": {"Shape": 2, "Gather": 2, "TopK": 1}}
    assert fallen_back(nodes, "CUDAExecutionProvider") == {"TopK": 1}
    assert fallen_back(nodes, "CPUExecutionProvider") == {}


class Absent:
    """A session of a provider that is not here; its nodes went where the test says."""

    def __init__(self, session, parts):
        self.session, self.parts = session, parts

    def __getattr__(self, name):
        return getattr(self.session, name)

    def get_providers(self):
        return ["XnnpackExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self):
        return self.parts


def test_nodes_that_another_provider_leaves_to_the_cpu_are_an_error_unless_allowed(build, monkeypatch):
    real = onnxruntime.InferenceSession
    node = SimpleNamespace(op_type="TopK")
    parts = [SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [node, node])]

    def opened(model, options, providers, **rest):
        return Absent(real(model, options, providers=["CPUExecutionProvider"], **rest), parts)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    here = list(provider_chain("xnnpack"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    assert re.search(r"leaves nodes.*2 TopK.*fallback=on", failure(build(DOUBLE), Settings(provider="xnnpack")))
    session = open_session(build(DOUBLE), Settings(provider="xnnpack", fallback=True))
    assert session.provider == "XnnpackExecutionProvider"
    assert session.nodes == {"CPUExecutionProvider": {"TopK": 2}}


def test_a_provider_that_is_not_built_in_is_refused(build, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for provider, hint in (("cuda", "pip install"), ("tensorrt", "pip install"), ("openvino", "those here: cpu")):
        message = failure(build(DOUBLE), Settings(provider=provider))
        assert provider in message and hint in message


def test_falling_back_to_the_cpu_in_silence_is_refused(build, monkeypatch, capfd):
    real = onnxruntime.InferenceSession

    def fallen_back(model, options, providers, **rest):
        return real(model, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fallen_back)
    here = list(provider_chain("tensorrt"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
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
def test_cuda_graphs_belong_to_their_tensors(build):
    try:
        session = open_session(build(DOUBLE), Settings(provider="cuda", cuda_graph=True, tf32=False))
    except SessionError as error:
        pytest.skip(str(error))
    runs = [session.bound({"x": np.full((n, 3), n, np.float32)}) for n in (1, 2)]
    for _ in range(4):
        for run in runs:
            run()
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)


@pytest.mark.gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_agrees_with_cpu(build, provider):
    try:
        session = open_session(build(DOUBLE), Settings(provider=provider))
    except SessionError as error:
        pytest.skip(str(error))
    x = np.ones((2, 3), np.float32)
    assert session.provider == provider_chain(provider)[0]
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
    run = session.bound({"x": x})
    run()
    run()
