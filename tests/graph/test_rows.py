"""Tokens: what nobody reads goes exactly, and what stays is what masks make of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models import assert_close, assert_same, build, feeds, ops, run
from numpy.typing import NDArray
from onnx import ModelProto
from token_nets import LAYERS, PACKINGS, PATCHES, WIDTH, Keep, Transformer

from graph.counts import size
from graph.errors import ModelError
from graph.model.reader import read
from graph.rows.facts import RowTrace
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
    reference = Transformer("apart" if packing == "fused" else packing, pool, seed=seed, masked=keep).model()
    check(slim, reference)
    counts = [int(kept.sum()) for kept in keep.values()]
    last = 1 if pool == "class" else counts.pop()
    assert macs(slim) == expected([made.tokens, *counts], last)
    assert size(read(slim)).parameters == size(read(model)).parameters  # none is there twice


@pytest.mark.parametrize("packing", ["apart", "fused"])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_masks_as_inputs_say_the_same(pool: str, packing: str) -> None:
    made = Transformer(packing, pool)
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


def attended(x: NDArray[np.float32], bias: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Attention of tokens [N, T, C] to themselves, two heads, with ``bias`` on the scores."""
    parts = x.reshape(*x.shape[:2], 2, -1).swapaxes(1, 2)
    scores = parts @ parts.swapaxes(2, 3) / np.sqrt(parts.shape[-1]) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed: NDArray[np.float32] = weights / weights.sum(-1, keepdims=True) @ parts
    return mixed.swapaxes(1, 2).reshape(x.shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["causal", "constant", "boolean"])
def test_attention_in_one_op_with_a_mask(kind: str) -> None:
    """Two layers of it; the second one keeps three tokens, and only one is read."""
    rng = np.random.default_rng(0)
    kept, before = np.array([True, False, True, False, False, True]), np.tri(6, dtype=np.bool_)
    bias = rng.standard_normal((6, 6)).astype(np.float32)
    mask = {"causal": "", "constant": ", bias", "boolean": ", before"}[kind]
    heads = f"<q_num_heads = 2, kv_num_heads = 2, is_causal = {int(kind == 'causal')}>"
    text = f"""(float[N,6,4] x) => (float[N,C] y) {{
        h = MatMul(x, one) p = Identity(h)
        a = Attention {heads} (p, h, h{mask}) q = Identity(a)
        b = Attention {heads} (q, a, a{mask})
        y = Gather <axis = 1> (b, last)
    }}"""
    model = build(text, opset=23, bias=bias, before=before, one=np.eye(4, dtype=np.float32), last=np.array(-1))
    inputs = feeds(model)
    own = bias if kind == "constant" else np.where(before, 0, -np.inf)
    first = attended(inputs["x"], own)
    keeps: list[Keep] = [{}, {"b": kept}]
    for keep in keeps:
        slim = remove(model, keep)
        far = np.where(keep.get("b", True), 0, -np.inf)
        assert_close(run(slim, inputs)["y"], attended(first, own + far)[:, -1])
        copy = masked(trace(read(model)))
        assert_close(run(copy.model, {**inputs, **copy.feeds(keep)})["y"], attended(first, own + far)[:, -1])
        first_queries = 3 if keep else 6
        assert macs(slim) == 4 * 4 * 6 + 2 * 4 * first_queries * (6 + 1)


def test_one_tensor_in_two_roles_stays_whole() -> None:
    """Queries that are keys as well cannot be fewer."""
    text = """(float[N,6,4] x) => (float[N,C] y) {
        h = MatMul(x, eye) a = Attention <q_num_heads = 2, kv_num_heads = 2> (h, h, h) y = Gather <axis = 1> (a, i)
    }"""
    model = build(text, opset=23, eye=np.eye(4, dtype=np.float32), i=np.array(0))
    assert_same(model, remove(model))
    with pytest.raises(ModelError, match="cannot be cut"):
        remove(model, {"a": np.arange(6) < 3})


def test_sizes_that_are_too_small_to_tell_are_no_constants() -> None:
    """All open sizes have one name, so that the image is read as high as the batch is large: the map has one pixel."""
    text = """(float[N,2,N,N] x) => (float[A,B,C] y) {
        map = Conv <kernel_shape = [3, 3], strides = [8, 8], pads = [1, 1, 1, 1]> (x, w)
        last = Transpose <perm = [0, 2, 3, 1]> (map)
        shape = Shape(x) batch = Slice(shape, zero, one, zero) target = Concat <axis = 0> (batch, rest)
        y = Reshape(last, target)
    }"""
    weights = np.ones((4, 2, 3, 3), np.float32)
    model = build(text, w=weights, zero=np.array([0]), one=np.array([1]), rest=np.array([-1, 4]))
    slim = remove(model)
    for wide in (3, 32):
        inputs = {"x": feeds(model, batch=2)["x"][:, :, :1, :1].repeat(wide, 2).repeat(wide, 3)}
        assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])


def test_tokens_are_looked_up_in_an_embedding() -> None:
    table = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    text = "(int64[N,6] x) => (float[N,T,C] y) {e = Gather(table, x) r = Relu(e) y = Gather <axis = 1> (r, i)}"
    model = build(text, table=table, i=np.array([4, 1]))
    slim = remove(model)
    ids = np.arange(12).reshape(2, 6) % 9
    assert_close(run(slim, {"x": ids})["y"], run(model, {"x": ids})["y"])
    assert read(slim).shapes[next(node for node in slim.graph.node if node.op_type == "Relu").output[0]][1] == 2


@pytest.mark.parametrize("branches", ["zero, p", "p, zero", "p, p"])
def test_weights_that_are_chosen_stay_weights(branches: str) -> None:
    assert [mixer.name for mixer in chosen(branches).mixers.values()] == ["p"]


@pytest.mark.parametrize("branches", ["zero, s", "s, p", "p, one"])
def test_what_is_chosen_instead_of_weights_is_looked_at(branches: str) -> None:
    """It is not zero where the weights are."""
    assert not chosen(branches).mixers


def chosen(branches: str) -> RowTrace:
    """Attention with weights that a Where returns."""
    text = f"""(float[N,6,4] x) => (float[N,C] y) {{
        h = MatMul(x, eye) t = Transpose <perm = [0, 2, 1]> (h) s = MatMul(h, t)
        p = Softmax(s) wrong = IsNaN(p) w = Where(wrong, {branches})
        o = MatMul(w, h) y = Gather <axis = 1> (o, first)
    }}"""
    floats = {"zero": np.float32(0), "one": np.float32(1), "eye": np.eye(4, dtype=np.float32)}
    return trace(read(build(text, first=np.array(0), **floats)))


def test_a_mask_that_is_made_of_an_input_loses_what_attention_does_not_look_at() -> None:
    """As PyTorch has it: filled with -inf where a word is missing, and weights that are no numbers are zero."""
    text = """(float[N,6,4] x, int64[N,6] m) => (float[N,C] y) {
        gone = Equal(m, none) shape = Shape(gone) zeros = Expand(zero, shape) fill = Where(gone, far, zeros)
        mask = Unsqueeze(fill, one)
        h = MatMul(x, eye) t = Transpose <perm = [0, 2, 1]> (h) s = MatMul(h, t) masked = Add(s, mask)
        p = Softmax(masked) wrong = IsNaN(p) w = Where(wrong, zero, p)
        o = MatMul(w, h) y = Gather <axis = 1> (o, first)
    }"""
    constants = {"none": np.array(0), "one": np.array([1]), "first": np.array(0)}
    floats = {"zero": np.float32(0), "far": np.float32(-np.inf), "eye": np.eye(4, dtype=np.float32)}
    model = build(text, **constants, **floats)
    found = trace(read(model))
    assert [mixer.name for mixer in found.mixers.values()] == ["p"]
    inputs = {"x": feeds(model)["x"], "m": np.array([[1, 1, 1, 1, 0, 0]] * 2)}
    keep: Keep = {"p": np.array([True, False, True, False, True, False])}
    keeps: list[Keep] = [{}, keep]
    for each in keeps:
        assert_close(run(remove(model, each), inputs)["y"], run(masked(found).fixed(each), inputs)["y"])
    assert macs(remove(model, keep)) == 6 * 4 * 4 + 2 * 3 * 4 < macs(model)


def test_the_field_transformer(shared_data: object) -> None:
    """Attention of another exporter, with sizes that are computed and BatchNormalization over channels first."""
    model = onnx.load(f"{shared_data}/onnx/vit_cifar10_ibp_3_3_8.onnx")
    stream = tokens(trace(read(model)))
    assert stream is not None and stream.rows.size == 17 and len(stream.levels) == 3
    depths = np.arange(17) % 4
    slim = remove(model, stream.keep(depths))
    check(slim, masked(trace(read(model))).fixed(stream.keep(depths)))
    assert macs(slim) < 0.6 * macs(model)
