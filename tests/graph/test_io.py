from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import Weights, build, feeds, run
from onnx import ModelProto, helper, numpy_helper, parser

import graph
from graph import ModelError
from graph.files.io import digest, files
from graph.files.pieces import pieces


def small(seed: int = 0) -> ModelProto:
    w = Weights(seed)
    return build(
        "(float[N,3,8,8] x) => (y) { a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) y = Conv(r, w2) }",
        w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 1, 1),
    )  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.onnx"
    graph.save(small(), path)
    assert graph.load(path) == small()
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        graph.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.onnx")


def test_folder(tmp_path: Path) -> None:
    refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"PK\x03\x04 a zip file", b"\x89PNG\r\n\x1a\n", b"hello, world\n" * 9]
)
def test_not_a_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(99), "zip archive.*export the model first"),
        (b"\x80\x02}q\x00", "pickle.*export the model first"),
        (b"", "empty"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert re.search(expected, refusal(path))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "model.onnx"
    whole = small().SerializeToString()
    path.write_bytes(whole[: int(len(whole) * share)])
    refusal(path)


def test_other_protobuf(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pb"
    path.write_bytes(small().graph.initializer[0].SerializeToString())
    refusal(path)


def external(path: Path) -> None:
    onnx.save_model(small(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_external_data(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    external(path)
    model = graph.load(path)
    assert model == small()
    graph.save(model, tmp_path / "elsewhere" / "model.onnx")
    assert graph.load(tmp_path / "elsewhere" / "model.onnx") == small()


def test_external_data_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    external(path)
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in refusal(path)


def test_external_data_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    external(path)
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[: len(data) // 2])
    assert "weights.bin" in refusal(path)


@pytest.mark.parametrize("way", ["above", "absolute", "link"])
def test_external_data_outside_the_folder(tmp_path: Path, way: str) -> None:
    path = tmp_path / "inside" / "model.onnx"
    path.parent.mkdir()
    external(path)
    outside = tmp_path / "weights.bin"
    (path.parent / "weights.bin").rename(outside)
    if way == "link":
        (path.parent / "weights.bin").symlink_to(outside)
    location = {"above": "../weights.bin", "absolute": str(outside), "link": "weights.bin"}[way]
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    assert "outside the model's folder" in refusal(path)


def test_external_data_of_constant_nodes(tmp_path: Path) -> None:
    model = small()
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in tensors:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    path = tmp_path / "model.onnx"
    inline = run(model, feeds(model))["y"]
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=True
    )
    loaded = graph.load(path)
    graph.save(graph.shrink(loaded)[0], tmp_path / "elsewhere" / "slim.onnx")
    slim = graph.load(tmp_path / "elsewhere" / "slim.onnx")
    assert abs(run(slim, feeds(slim))["y"] - inline).max() < 1e-5


def test_external_data_of_functions(tmp_path: Path) -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20, "my" : 1]> g (float[N,8] x) => (float[N,6] y) { y = my.layer(x) }
        <domain: "my", opset_import: ["" : 20]> layer (x) => (y) { w = Constant() y = MatMul(x, w) }"""
    )
    weight = numpy_helper.from_array(Weights()(8, 6), "w")
    model.functions[0].node[0].attribute.append(helper.make_attribute("value", weight))
    expected = run(model, feeds(model))["y"]
    path = tmp_path / "model.onnx"
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=True
    )
    slim, _ = graph.shrink(graph.load(path))
    assert abs(run(slim, feeds(slim))["y"] - expected).max() < 1e-5
    assert [file.name for file in files(path)] == ["model.onnx", "weights.bin"]


def test_save_replaces_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    graph.save(small(), path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ModelError, match="No space left"):
        graph.save(small(1), path)
    assert graph.load(path) == small()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot write"):
        graph.save(small(), tmp_path / "file" / "model.onnx")


def test_saved_files_may_be_read_by_others(tmp_path: Path) -> None:
    graph.save(small(), tmp_path / "model.onnx")
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "model.onnx").stat().st_mode == plain.stat().st_mode


def large(seed: int) -> ModelProto:
    w = Weights(seed)
    return build("(float[N,64] x) => (y) { h = MatMul(x, w1) y = MatMul(h, w2) }", w1=w(64, 64), w2=w(64, 64))


def test_over_the_limit_weights_go_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.files.io.PROTOBUF_LIMIT", 1000)
    path = tmp_path / "model.onnx"
    for seed in (0, 1, 1):
        model = large(seed)
        graph.save(model, path)
        assert model == large(seed), "saving changed the model"
        assert graph.load(path) == model
        assert path.stat().st_size < 5000
        assert len(list(tmp_path.iterdir())) == 2, "stale or unfinished files"


def test_what_goes_beside_may_be_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents in typed fields, of sparse tensors and of Constant nodes."""
    monkeypatch.setattr("graph.files.io.PROTOBUF_LIMIT", 1000)
    model = large(0)
    values = np.arange(400, dtype=np.float32)
    model.graph.initializer.append(helper.make_tensor("typed", onnx.TensorProto.FLOAT, [400], values))
    kept, places = helper.make_tensor("sparse", onnx.TensorProto.FLOAT, [400], values), np.arange(400)
    indices = numpy_helper.from_array(places, "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(kept, indices, [500]))
    node = helper.make_node("Constant", [], ["constant"], value=numpy_helper.from_array(values))
    model.graph.node.append(node)
    path = tmp_path / "model.onnx"
    graph.save(model, path)
    assert path.stat().st_size < 5000
    loaded = graph.load(path)
    sparse = loaded.graph.sparse_initializer[0]
    for tensor in (loaded.graph.initializer[2], sparse.values, loaded.graph.node[-1].attribute[0].t):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), values)
    np.testing.assert_array_equal(numpy_helper.to_array(sparse.indices), places)
    assert files(path) == [path, *tmp_path.glob("*.data")]


def test_a_crash_between_weights_and_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.files.io.PROTOBUF_LIMIT", 1000)
    path = tmp_path / "model.onnx"
    graph.save(large(0), path)
    replace = os.replace

    def crash(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(ModelError):
        graph.save(large(1), path)
    assert graph.load(path) == large(0)


def test_the_envelope_survives(tmp_path: Path) -> None:
    model = small()
    model.ir_version = 8
    model.producer_name, model.producer_version, model.domain, model.model_version = "maker", "1.2", "org.example", 7
    model.doc_string, model.graph.doc_string, model.graph.name = "model doc", "graph doc", "classifier"
    model.metadata_props.add(key="license", value="Apache-2.0")
    model.graph.node[0].name, model.graph.node[0].doc_string = "stem", "first"
    model.graph.initializer[0].doc_string = "stem weights"
    model.graph.input[0].doc_string = "an image"
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    slim, _ = graph.shrink(model)
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(slim, name) == getattr(model, name), name
    assert slim.metadata_props == model.metadata_props
    assert slim.opset_import == model.opset_import
    assert (slim.graph.name, slim.graph.doc_string) == ("classifier", "graph doc")
    assert slim.graph.input == model.graph.input
    assert slim.graph.output == model.graph.output
    assert (slim.graph.node[0].name, slim.graph.node[0].doc_string) == ("stem", "first")
    assert slim.graph.initializer[0].doc_string == "stem weights"


@pytest.mark.parametrize("size", [0, 1, 31, 127, 128, 5000, 2**15])
def test_pieces_are_what_protobuf_writes(size: int) -> None:
    model = small()
    model.metadata_props.add(key="license", value="Apache-2.0")
    model.graph.doc_string = "in the middle"
    model.graph.initializer.append(numpy_helper.from_array(np.arange(size, dtype=np.float32), "w"))
    assert b"".join(pieces(model)) == model.SerializeToString()


def test_digest_is_of_the_content() -> None:
    assert digest(small()) == digest(small())
    assert digest(small()) != digest(small(1))
