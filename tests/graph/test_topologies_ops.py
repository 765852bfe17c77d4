"""Ops, opsets and ways to store weights: what is removed through them, and what they freeze."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build, ops, shrunk, widths
from onnx import TensorProto, helper, numpy_helper, parser

IN = "float[N,3,H,W] x"
FIXED = "float[N,3,8,8] x"
PAD = "pads=[1,1,1,1]"


def test_two_convs_share_a_weight_and_lose_different_channels() -> None:
    w = Weights()
    shared = w(4, 4, 1, 1)
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1) b = Conv(x, w2) c = Conv(a, s) d = Conv(b, s) e = Concat<axis=1>(c, d)"
        f" y = Conv<{PAD}>(e, w3) }}",
        w1=w(4, 3, 1, 1, zero=(0,)), w2=w(4, 3, 1, 1, zero=(2, 3)), s=shared, w3=w(2, 8, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["w1"][0], found["w2"][0]) == (3, 2)
    shapes = sorted(shape for name, shape in found.items() if name not in ("w1", "w2", "w3"))
    assert shapes == [(4, 2, 1, 1), (4, 3, 1, 1)]


def test_shared_weight_and_equal_zeros_stay_shared() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, s) c = Conv<{PAD}>(b, s)"
        f" y = Conv<{PAD}>(c, w3) }}",
        w1=w(4, 3, 3, 3, zero=(1,)), s=w(4, 4, 3, 3, zero=(1,)), w3=w(2, 4, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert list(widths(slim).values()).count((3, 3, 3, 3)) == 1 + 1  # `w1` and one `s`


def test_weights_in_constant_nodes() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) y = Conv<{PAD}>(r, w2) }}",
        w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 3, 3),
    )  # fmt: skip
    for tensor in list(model.graph.initializer):
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    slim, _ = shrunk(model)
    assert sorted(widths(slim).values()) == [(2, 4, 3, 3), (4, 3, 3, 3)]


def test_weights_listed_as_inputs() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) y = Conv<{PAD}>(r, w2) }}",
        opset=8, ir=3, w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 3, 3), "w2": (2, 4, 3, 3)}
    assert slim.ir_version == 3
    declared = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in slim.graph.input}
    assert (declared["w1"], declared["w2"]) == ([4, 3, 3, 3], [2, 4, 3, 3])


def test_weights_stored_as_typed_fields_and_halves() -> None:
    w = Weights()
    model = build(
        "(float16[N,3,8,8] x) => (y) { a = Conv(x, w1) r = Relu(a) y = Conv(r, w2) }",
        w1=w(6, 3, 1, 1, zero=(1, 2)).astype(np.float16), w2=w(2, 6, 1, 1).astype(np.float16),
    )  # fmt: skip
    for tensor in model.graph.initializer:
        halves = numpy_helper.to_array(tensor).view(np.uint16).ravel().tolist()
        tensor.ClearField("raw_data")
        tensor.int32_data.extend(halves)
    assert widths(shrunk(model)[0])["w1"] == (4, 3, 1, 1)


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("v, i = TopK<axis=1>(r, four) f = Identity(v)", "TopK"),
        ("f = CumSum(r, one)", "CumSum"),
        ("f = LpNormalization<axis=1>(r)", "LpNormalization"),
        ("f = Softmax<axis=1>(r)", "Softmax"),
        ("f = LRN<size=3>(r)", "LRN"),
        ("f = MeanVarianceNormalization<axes=[1]>(r)", "MeanVarianceNormalization"),
        ("f = ReduceMean<keepdims=1>(r, ones)", "ReduceMean"),
        ("f = com.microsoft.QuickGelu(r)", "QuickGelu"),
    ],
)
def test_ops_that_mix_channels_freeze_them(op: str, name: str) -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (float[a,b,c,d] y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) {op} y = Identity(f) }}",
        domains=("com.microsoft",), w1=w(6, 3, 3, 3, zero=(1, 2)), four=np.array([4]), one=np.array(1),
        ones=np.array([1]),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim)["w1"] == (6, 3, 3, 3)
    assert [entry.op.split(":")[0] for entry in certificate.frozen] == [name]
    assert [(kept.reason, kept.op.split(":")[0], kept.channels) for kept in certificate.kept_zero] == [
        ("frozen", name, 2)
    ]


def test_if_body_freezes_what_it_captures() -> None:
    w = Weights()
    model = build(
        f"(bool flag, {FIXED}) => (float[N,6,8,8] y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) r = Relu(b)"
        " y = If(flag) <then_branch = yes () => (float[N,6,8,8] p) { p = Neg(r) },"
        " else_branch = no () => (float[N,6,8,8] q) { q = Relu(r) }> }",
        w1=w(5, 3, 3, 3, zero=(4,)), w2=w(6, 5, 3, 3, zero=(1, 2)),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert (widths(slim)["w1"], widths(slim)["w2"]) == ((4, 3, 3, 3), (6, 4, 3, 3))
    assert certificate.frozen[0].op.startswith("If")


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20])
def test_opsets(opset: int) -> None:
    """Slice, Split, Squeeze, Unsqueeze, Pad and ReduceMean moved their parameters from attributes to inputs."""
    w = Weights()
    ints: dict[str, Array] = {}

    def op(name: str, source: str, version: int, parameters: dict[str, list[int]], extra: str = "") -> str:
        """A node with its parameters as attributes before ``version`` and as inputs since."""
        if opset < version:
            inside = ", ".join([f"{key}={value}" for key, value in parameters.items()] + [extra] * bool(extra))
            return f"{name}<{inside}>({source})"
        for key, value in parameters.items():
            ints[f"{name}_{key}"] = np.array(value)
        return f"{name}{f'<{extra}>' if extra else ''}({', '.join([source, *(f'{name}_{key}' for key in parameters)])})"

    text = (
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a)"
        f" s = {op('Slice', 'r', 10, {'starts': [1], 'ends': [7], 'axes': [1]})}"
        f" q, u = {op('Split', 's', 13, {'split': [4, 2]}, 'axis=1')}"
        f" p = {op('Pad', 'q', 11, {'pads': [0, 1, 1, 1, 0, 0, 1, 1]})}"
        f" c = Conv(p, w2) v = Conv<{PAD}>(u, w3) d = Add(c, v) e = Conv(d, w4)"
        f" m = {op('ReduceMean', 'e', 18, {'axes': [2, 3]}, 'keepdims=1')}"
        f" z = {op('Squeeze', 'm', 13, {'axes': [2, 3]})}"
        f" k = {op('Unsqueeze', 'z', 13, {'axes': [2, 3]})}"
        " l = Flatten(k) y = Gemm(l, w5, b5) }"
    )
    # channels 0 and 7 are sliced off; 1 to 4 go to q, and 5 and 6 to u
    model = build(
        text, opset=opset, ir=7, w1=w(8, 3, 3, 3, zero=(2, 5)), w2=w(3, 5, 3, 3), w3=w(3, 2, 3, 3),
        w4=w(4, 3, 1, 1, zero=(3,)), w5=w(4, 2), b5=w(2), **ints,
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert [found[f"w{place}"] for place in range(1, 6)] == [
        (4, 3, 3, 3), (3, 3, 3, 3), (3, 1, 3, 3), (3, 3, 1, 1), (3, 2),
    ]  # fmt: skip
    assert ops(slim) == ops(model)
    assert slim.opset_import == model.opset_import


@pytest.mark.parametrize(
    ("target", "options"),
    [([0, -1], ""), ([-1, 256], ""), ([0, 256], ""), ([-1, 256], "<allowzero=1>"), ([0, 4, -1], ""), ([0, 0, 64], "")],
)
def test_reshape_targets(target: list[int], options: str) -> None:
    w = Weights()
    flat = len(target) == 2
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) s = Reshape{options}(r, target)"
        + (" y = MatMul(s, w2) }" if flat else " t = Transpose<perm=[0,2,1]>(s) y = MatMul(t, w2) }"),
        w1=w(4, 3, 3, 3, zero=(1, 2)), w2=w(256 if flat else 4, 5), target=np.array(target),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (2, 3, 3, 3)


def test_one_target_for_reshapes_of_different_width() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(x, w2) p = Reshape(a, t) q = Reshape(b, t)"
        " c = MatMul(p, w3) d = MatMul(q, w3) y = Add(c, d) }",
        w1=w(4, 3, 3, 3, zero=(1,)), w2=w(4, 3, 3, 3, zero=(0, 3)), w3=w(256, 5), t=np.array([-1, 256]),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"][0], found["w2"][0]) == (3, 2)


def test_a_target_computed_from_the_input() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) s = Shape(r) n = Gather(s, zero)"
        " m = Concat<axis=0>(n, rest) g = GlobalAveragePool(r) f = Reshape(g, m) y = Gemm(f, w2, b2) }",
        w1=w(4, 3, 3, 3, zero=(1,)), w2=w(4, 5), b2=w(5), zero=np.array([0]), rest=np.array([-1]),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (3, 3, 3, 3)


@pytest.mark.parametrize("op", ["Expand(r, shape)", "Tile(r, times)"])
def test_repetition(op: str) -> None:
    w = Weights()
    repeated = 8 if op.startswith("Tile") else 4
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) g = GlobalAveragePool(a) r = Relu(g) e = {op} y = Conv(e, w2) }}",
        w1=w(4, 3, 3, 3, zero=(1,)), w2=w(2, repeated, 3, 3),
        shape=np.array([1, 4, 8, 8]), times=np.array([1, 2, 4, 4]),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"][0], found["w2"][1]) == (3, repeated * 3 // 4)


def test_expand_of_one_channel_keeps_it() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) e = Expand(a, shape) y = Conv(e, w2) }}",
        w1=w(1, 3, 3, 3), w2=w(2, 4, 3, 3, zero=(3,), axis=1), shape=np.array([1, 4, 1, 1]),
    )  # fmt: skip
    shrunk(model)


@pytest.mark.parametrize(
    "op",
    [
        "PRelu(a, slope)",
        "Where(mask, a, slope)",
        "Where(flags, a, slope)",
        "Clip(a, low, high)",
        "Min(a, slope)",
        "Max(a, slope, zero)",
        "Sum(a, slope, slope)",
        "Mean(a, slope)",
        "Pow(a, two)",
        "Mod<fmod=1>(a, slope)",
        "Div(a, slope)",
        "Sub(slope, a)",
    ],
)
def test_ops_with_one_constant_per_channel(op: str) -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) mask = Greater(a, slope) f = {op} y = Conv(f, w2, b2) }}",
        w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 1, 1), b2=w(2), slope=w(6, 1, 1),
        low=np.array(0.25, np.float32), high=np.array(6, np.float32), zero=np.zeros((1, 6, 1, 1), np.float32),
        two=np.full((6, 1, 1), 2, np.float32), flags=np.array([1, 0, 1, 0, 1, 0], bool).reshape(6, 1, 1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"] == (4, 3, 3, 3)
    assert all(shape[0] == 4 for name, shape in widths(slim).items() if name in ("slope", "two", "flags"))


def test_attention() -> None:
    """Heads are tied to the shapes of Reshape; queries and keys pair off."""
    w = Weights()
    model = build(
        "(float[N,5,12] x) => (y) { q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)"
        " qh = Reshape(q, heads) kh = Reshape(k, heads) vh = Reshape(v, heads)"
        " qt = Transpose<perm=[0,2,1,3]>(qh) kt = Transpose<perm=[0,2,3,1]>(kh) vt = Transpose<perm=[0,2,1,3]>(vh)"
        " s = MatMul(qt, kt) p = Softmax<axis=-1>(s) o = MatMul(p, vt) ot = Transpose<perm=[0,2,1,3]>(o)"
        " r = Reshape(ot, flat) y = MatMul(r, wo) }",
        wq=w(12, 12, zero=(0, 4, 8), axis=1), wk=w(12, 12), wv=w(12, 12, zero=(4, 5, 6, 7), axis=1), wo=w(12, 12),
        heads=np.array([0, 5, 3, 4]), flat=np.array([0, 5, 12]),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    # head 1 has no value, and the first dimension of every head has no query
    assert (found["wq"], found["wk"], found["wv"], found["wo"]) == ((12, 6), (12, 6), (12, 8), (8, 12))


def test_function_of_nothing_but_constants() -> None:
    body = parser.parse_graph("g () => (float[2] y) { y = Constant<value = float[2] {1.0, 2.0}>() }")
    model = helper.make_model(body, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    shrunk(model)
