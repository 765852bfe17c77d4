"""Tokens: what nobody reads goes exactly, and what stays is what masks make of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, assert_same, build, feeds, ops, run
from onnx import ModelProto
from token_nets import LAYERS, PACKINGS, PATCHES, WIDTH, Keep, Transformer

from graph.counts import size
from graph.program import read
from graph.rows.forecast import Forecast
from graph.rows.masks import masked
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import tokens
from graph.rows.trace import trace

FORMS = [(packing, pool) for packing in PACKINGS for pool in ("class", "mean")]


def macs(model: ModelProto) -> int:
    return size(read(model)).macs


def expected(rows: list[int], last: int) -> int:
    """MACs of a transformer whose blocks look at so many tokens, and whose head reads what ``last`` are left of."""
    total = PATCHES * WIDTH * 12 + WIDTH * 5
    for before, after in zip(rows, [*rows[1:], last], strict=True):
        total += (2 * before + 2 * after) * WIDTH**2 + 2 * before * after * WIDTH + 4 * after * WIDTH**2
    return total


def nested(made: Transformer, seed: int) -> Keep:
    """Fewer tokens from block to block, at random; that of the class stays."""
    rng, kept, found = np.random.default_rng(seed), np.ones(made.tokens, np.bool_), {}
    for name in LAYERS[1:] + (["pooled"] if made.pool == "mean" else []):
        kept = kept & (rng.random(made.tokens) < 0.7)
        kept[0] = True
        found[name] = kept
    return found


def check(model: ModelProto, reference: ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    for batch in (1, 3):
        inputs = feeds(model, batch=batch)
        found = run(model, inputs)
        for name, value in run(reference, inputs).items():
            assert_close(found[name], value, name)


@pytest.mark.parametrize(("packing", "pool"), FORMS)
def test_nothing_changes_without_a_choice(packing: str, pool: str) -> None:
    made = Transformer(packing, pool)
    model = made.model()
    before = model.SerializeToString()
    slim = remove(model)
    assert model.SerializeToString() == before
    assert_same(model, slim)
    n = made.tokens
    assert macs(slim) == expected([n, n, n], 1 if pool == "class" else n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("packing", "pool"), FORMS)
def test_rows_that_stay_are_those_of_the_masked_model(packing: str, pool: str, seed: int) -> None:
    made = Transformer(packing, pool, seed=seed)
    keep, model = nested(made, seed), made.model()
    slim = remove(model, keep)
    reference = Transformer(packing, pool, seed=seed, masked=keep).model()
    check(slim, reference)
    counts = [int(kept.sum()) for kept in keep.values()]
    last = 1 if pool == "class" else counts.pop()
    assert macs(slim) == expected([made.tokens, *counts], last)
    assert size(read(slim)).parameters == size(read(model)).parameters  # none is there twice


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_masks_as_inputs_say_the_same(pool: str) -> None:
    made = Transformer(pool=pool)
    keep, model = nested(made, 0), made.model()
    copy = masked(trace(read(model)))
    inputs = feeds(model)
    reference = run(Transformer(pool=pool, masked=keep).model(), inputs)["y"]
    assert_close(run(copy.model, {**inputs, **copy.feeds(keep)})["y"], reference)
    assert_close(run(copy.fixed(keep), inputs)["y"], reference)
    assert_close(run(copy.model, {**inputs, **copy.feeds({})})["y"], run(model, inputs)["y"])


@pytest.mark.parametrize(("packing", "pool"), FORMS)
def test_the_forecast_is_what_comes_out(packing: str, pool: str) -> None:
    made = Transformer(packing, pool)
    model, keep = made.model(), nested(made, 1)
    stream = tokens(trace(read(model)))
    assert stream is not None
    forecast = Forecast(unpacked(model, stream.keep(stream.nested())))
    assert forecast.left(keep) == pytest.approx(macs(remove(model, keep)) / macs(model))


def test_the_token_of_the_class_stays_and_the_others_may_go() -> None:
    stream = tokens(trace(read(Transformer(pool="class").model())))
    assert stream is not None and [level.name for level in stream.levels] == LAYERS[1:]
    assert (stream.least > 0).sum() == 1
    mean = tokens(trace(read(Transformer(pool="mean").model())))
    assert mean is not None and [level.name for level in mean.levels] == [*LAYERS[1:], "pooled"]
    assert not mean.least.any()


def test_tokens_that_are_returned_half_way_stay_until_there() -> None:
    outputs = ["y", "stream1"]
    model = Transformer(pool="class").model(outputs)
    stream = tokens(trace(read(model)))
    assert stream is not None
    assert sorted(stream.least) == [1] * PATCHES + [2]
    keep = {LAYERS[2]: np.arange(PATCHES + 1) % 3 == 0}
    check(remove(model, keep), Transformer(pool="class", masked=keep).model(outputs))


def test_weights_of_attention_that_are_read_stay_whole() -> None:
    made = Transformer(pool="class")
    model = made.model(["y", "weights1"])
    assert {mixer.name for mixer in trace(read(model)).mixers.values()} == {"weights0", "weights2"}
    assert_same(model, remove(model))


def test_channels_are_no_tokens() -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "axes": np.array([2, 3])}
    mean = "y = ReduceMean <keepdims = 0> (a, axes)"
    text = f"(float[N,3,8,8] x) => (float[N,C] y) {{a = Conv <pads = [1,1,1,1]> (x, w) {mean}}}"
    found = trace(read(build(text, **weights)))
    assert not found.mixers and tokens(found) is None


def test_a_row_that_is_cut_out_is_made_alone() -> None:
    """Without any attention: what computes rows that nobody reads computes fewer."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 4)).astype(np.float32), "p": rng.standard_normal((6, 4)).astype(np.float32)}
    text = (
        "(float[N,6,4] x) => (float[N,T,C] y) {a = MatMul(x, w) b = Add(a, p) c = Relu(b) y = Gather <axis = 1> (c, i)}"
    )
    model = build(text, i=np.array([4, 1]), **weights)
    slim = remove(model)
    assert_same(model, slim)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in slim.graph.initializer}
    assert shapes["p"] == (2, 4)
    assert "Gather" in ops(slim)


def test_rows_along_two_axes_are_both_gathered() -> None:
    text = """(float[N,6,4] x) => (float[N,S,T] s, float[N,S,T] y) {
        t = Transpose <perm = [0, 2, 1]> (x)
        a = MatMul(x, w) b = MatMul(u, t) s = MatMul(a, b)
        r = Relu(s)
        g = Gather <axis = 1> (r, i)
        y = Gather <axis = 2> (g, i)
    }"""
    rng = np.random.default_rng(0)
    model = build(
        text, i=np.array([1, 3]), w=rng.standard_normal((4, 4)).astype(np.float32), u=np.eye(4, dtype=np.float32)
    )
    slim = remove(model)
    assert_same(model, slim)
    relu = next(node for node in slim.graph.node if node.op_type == "Relu")
    assert read(slim).shapes[relu.output[0]][1:] == (2, 2)


def test_an_input_of_the_model_can_be_gathered() -> None:
    model = build("(float[N,6] x) => (float[N,T] y) {r = Relu(x) y = Gather <axis = 1> (r, i)}", i=np.array([1, 3]))
    slim = remove(model)
    assert_same(model, slim)
    assert ops(slim) == ["Gather", "Relu", "Gather"]


def test_the_field_transformer(shared_data: object) -> None:
    """Attention of another exporter, with sizes that are computed and BatchNormalization over channels first."""
    model = onnx.load(f"{shared_data}/onnx/vit_cifar10_ibp_3_3_8.onnx")
    stream = tokens(trace(read(model)))
    assert stream is not None and stream.rows.size == 17 and len(stream.levels) == 3
    depths = np.arange(17) % 4
    slim = remove(model, stream.keep(depths))
    check(slim, masked(trace(read(model))).fixed(stream.keep(depths)))
    assert macs(slim) < 0.6 * macs(model)
