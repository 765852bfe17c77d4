"""Shapes of networks that people train, each with the width that it must come out with."""

from __future__ import annotations

import numpy as np
from models import Weights, build, ops, shrunk, widths

IN = "float[N,3,H,W] x"
FIXED = "float[N,3,8,8] x"
PAD = "pads=[1,1,1,1]"


def norm(prefix: str, source: str) -> str:
    return f"BatchNormalization({source}, {prefix}g, {prefix}b, {prefix}m, {prefix}v)"


def test_chain() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1, b1) r = Relu(a) b = Conv<{PAD}>(r, w2) s = Sigmoid(b)"
        " y = Conv(s, w3) }",
        w1=w(8, 3, 3, 3, zero=(1, 4)), b1=w(8, zero=(1, 4)), w2=w(6, 8, 3, 3, zero=(0, 5)), w3=w(2, 6, 1, 1),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim) | {"b": None} == {
        "w1": (6, 3, 3, 3), "b1": (6,), "w2": (4, 6, 3, 3), "w3": (2, 4, 1, 1), "y_bias": (2,), "b": None,
    }  # fmt: skip
    assert [(entry.reason, entry.channels) for entry in certificate.removed] == [("zero", 2), ("constant", 2)]
    assert certificate.removed[1].absorbed_into == ["y_bias"]
    assert certificate.output.parameters < certificate.input.parameters
    assert certificate.output.macs < certificate.input.macs


def test_norms_lose_their_channels_too() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) n = {norm('n', 'a')} r = Relu(n) y = Conv<{PAD}>(r, w2) }}",
        w1=w(8, 3, 3, 3), w2=w(2, 8, 3, 3), **w.norm(8, zero=(0, 3, 7), prefix="n"),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {
        "w1": (5, 3, 3, 3), "w2": (2, 5, 3, 3), "ng": (5,), "nb": (5,), "nm": (5,), "nv": (5,),
    }  # fmt: skip


def test_negative_shift_dies_in_relu() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1) n = {norm('n', 'a')} r = Relu(n) y = Conv<{PAD}>(r, w2) }}",
        w1=w(4, 3, 1, 1), w2=w(2, 4, 3, 3), **w.norm(4, zero=(0, 1), shift={0: -1.0, 1: 1.0}, prefix="n"),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim)["w1"] == (3, 3, 1, 1)
    assert [(kept.reason, kept.op, kept.channels) for kept in certificate.kept_zero] == [("border", "Conv:y", 1)]


def residual(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[dict[str, tuple[int, ...]], object]:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) b = Conv<{PAD}>(r, w2) s = Add(b, r) t = Relu(s)"
        f" y = Conv<{PAD}>(t, w3) }}",
        w1=w(6, 3, 3, 3, zero=left), w2=w(6, 6, 3, 3, zero=right), w3=w(2, 6, 3, 3),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    return widths(slim), certificate


def test_residual() -> None:
    found, _ = residual((1, 2), (1, 2))
    assert found == {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (2, 4, 3, 3)}


def test_residual_with_one_side_zero_stays() -> None:
    found, certificate = residual((), (1, 2))
    assert found == {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "w3": (2, 6, 3, 3)}
    assert sum(kept.channels for kept in certificate.kept_zero) == 2  # type: ignore[attr-defined]


def test_residual_of_different_zeros_loses_the_common_ones() -> None:
    found, _ = residual((0, 1, 2), (1, 2, 3))
    assert found == {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (2, 4, 3, 3)}


def test_preactivation() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w0) n = {norm('n', 'a')} r = Relu(n) b = Conv<{PAD}>(r, w1) m = {norm('m', 'b')}"
        f" q = Relu(m) c = Conv<{PAD}>(q, w2) s = Add(a, c) o = {norm('o', 's')} t = Relu(o) y = Conv(t, w3) }}",
        w0=w(6, 3, 1, 1, zero=(5,)), w1=w(8, 6, 3, 3), w2=w(6, 8, 3, 3, zero=(5,)), w3=w(2, 6, 1, 1),
        **w.norm(6, zero=(0, 5), prefix="n"), **w.norm(8, zero=(2, 3, 4), prefix="m"),
        **w.norm(6, zero=(5,), prefix="o"),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w0"], found["w1"], found["w2"], found["w3"]) == (
        (5, 3, 1, 1),
        (5, 5, 3, 3),
        (5, 5, 3, 3),
        (2, 5, 1, 1),
    )


def test_cascaded_concat() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) c = Concat<axis=1>(a, b)"
        f" d = Conv<{PAD}>(c, w3) e = Concat<axis=-3>(c, d) n = {norm('n', 'e')} r = Relu(n) y = Conv(r, w4) }}",
        w1=w(4, 3, 3, 3, zero=(0,)), w2=w(3, 4, 3, 3, zero=(1,)), w3=w(2, 7, 3, 3, zero=(0,)), w4=w(2, 9, 1, 1),
        **w.norm(9, zero=(0, 5, 7), prefix="n"),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert found == {
        "w1": (3, 3, 3, 3), "w2": (2, 3, 3, 3), "w3": (1, 5, 3, 3), "w4": (2, 6, 1, 1),
        "ng": (6,), "nb": (6,), "nm": (6,), "nv": (6,),
    }  # fmt: skip


def test_split() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p, q = Split<axis=1, num_outputs=2>(a) f = Sigmoid(p)"
        f" r = Conv<{PAD}>(q, w2) s = Conv(f, w3) y = Add(r, s) }}",
        w1=w(8, 3, 3, 3, zero=(0, 4, 5)), w2=w(2, 4, 3, 3), w3=w(2, 4, 1, 1),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"], found["w3"]) == ((5, 3, 3, 3), (2, 2, 3, 3), (2, 3, 1, 1))


def test_gated_halves_couple() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p, q = Split<axis=1>(a, sizes) f = Sigmoid(p) m = Mul(q, f)"
        f" y = Conv<{PAD}>(m, w2) }}",
        w1=w(8, 3, 3, 3, zero=(4, 5)), w2=w(2, 4, 3, 3), sizes=np.array([4, 4]),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"], found["sizes"]) == ((4, 3, 3, 3), (2, 2, 3, 3), (2,))


def test_slice() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p = Slice(a, from, to, axis) y = Conv<{PAD}>(p, w2) }}",
        w1=w(8, 3, 3, 3, zero=(0, 4)), w2=w(2, 4, 3, 3),
        **{"from": np.array([2]), "to": np.array([-2]), "axis": np.array([-3])},
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"]) == ((3, 3, 3, 3), (2, 3, 3, 3))  # nobody reads what the slice leaves out


def test_flatten_keeps_pixels_together() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) f = Flatten(r) y = Gemm<transB=1>(f, w2, b2) }}",
        w1=w(4, 3, 3, 3, zero=(1,)), w2=w(5, 256), b2=w(5),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"]) == ((3, 3, 3, 3), (5, 192))


def squeeze_excite(gate: str, zero: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) g = GlobalAveragePool(r) s = Conv(g, w2, b2) t = Relu(s)"
        f" u = Conv(t, w3, b3) v = {gate}(u) m = Mul(r, v) y = Conv<{PAD}>(m, w4) }}",
        w1=w(6, 3, 3, 3, zero=zero), w2=w(3, 6, 1, 1, zero=(2,)), b2=w(3, zero=(2,)), w3=w(6, 3, 1, 1), b3=w(6),
        w4=w(2, 6, 3, 3),
    )  # fmt: skip
    return widths(shrunk(model)[0])


def test_squeeze_excite() -> None:
    for gate in ("Sigmoid", "HardSigmoid"):
        found = squeeze_excite(gate, (0, 5))
        assert (found["w1"], found["w2"], found["w3"], found["w4"]) == (
            (4, 3, 3, 3), (2, 4, 1, 1), (4, 2, 1, 1), (2, 4, 3, 3),
        )  # fmt: skip


def test_squeeze_excite_without_dead_channels_keeps_its_width() -> None:
    assert squeeze_excite("Sigmoid", ())["w1"] == (6, 3, 3, 3)


def test_depthwise_separable() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) d = Conv<{PAD}, group=6>(r, w2, b2) s = Relu(d)"
        " p = Conv(s, w3) y = HardSwish(p) }",
        w1=w(6, 3, 3, 3, zero=(0,)), w2=w(6, 1, 3, 3, zero=(0, 2)), b2=w(6, zero=(0, 2)), w3=w(4, 6, 1, 1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 3, 3), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (4, 4, 1, 1)}
    assert next(a.i for node in slim.graph.node for a in node.attribute if a.name == "group") == 4


def test_pooling() -> None:
    w = Weights()
    for pool in (
        "MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(a)",
        "AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)",
        "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)",
        "LpPool<kernel_shape=[2,2], p=2>(a)",
        "GlobalAveragePool(a)",
        "GlobalMaxPool(a)",
        "ReduceMean<keepdims=1>(a, axes)",
    ):
        model = build(
            f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p = {pool} y = Conv<{PAD}>(p, w2) }}",
            w1=w(6, 3, 3, 3, zero=(3, 4)), w2=w(2, 6, 3, 3), axes=np.array([2, 3]),
        )  # fmt: skip
        assert widths(shrunk(model)[0])["w1"] == (4, 3, 3, 3), pool


def test_max_pool_that_returns_places_stays() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y, i) {{ a = Conv<{PAD}>(x, w1) p, i = MaxPool<kernel_shape=[2,2]>(a) y = Conv(p, w2) }}",
        w1=w(6, 3, 3, 3, zero=(3, 4)), w2=w(2, 6, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (6, 3, 3, 3)


def test_option_a_shortcut_pads_channels() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) h = Slice(r, zero, far, space, two) s = Pad(h, pads)"
        f" c = Conv<strides=[2,2], {PAD}>(r, w2) t = Add(c, s) u = Relu(t) y = Conv<{PAD}>(u, w3) }}",
        w1=w(4, 3, 3, 3, zero=(3,)), w2=w(8, 4, 3, 3, zero=(0, 5, 7)), w3=w(2, 8, 3, 3),
        zero=np.array([0, 0]), far=np.array([2**62, 2**62]), space=np.array([2, 3]), two=np.array([2, 2]),
        pads=np.array([0, 2, 0, 0, 0, 2, 0, 0]),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    # shortcut channel 3 lies at 5, and 7 is padding on the short side; 0 is padding too
    assert (found["w1"], found["w2"], found["w3"]) == ((3, 3, 3, 3), (5, 3, 3, 3), (2, 5, 3, 3))


def test_shuffle() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) g = Reshape(r, apart)"
        f" t = Transpose<perm=[0,2,1,3,4]>(g) u = Reshape(t, together) y = Conv<{PAD}>(u, w2) }}",
        w1=w(8, 3, 3, 3, zero=(1, 5)), w2=w(2, 8, 3, 3),
        apart=np.array([0, 2, 4, 8, 8]), together=np.array([0, 8, 8, 8]),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert (widths(slim)["w1"], widths(slim)["w2"]) == ((6, 3, 3, 3), (2, 6, 3, 3))
    assert ops(slim) == ops(model)


def test_shuffle_of_uneven_groups_keeps_a_grid() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) g = Reshape(a, apart) t = Transpose<perm=[0,2,1,3,4]>(g)"
        f" u = Reshape(t, together) y = Conv<{PAD}>(u, w2) }}",
        w1=w(8, 3, 3, 3, zero=(1, 5, 2)), w2=w(2, 8, 3, 3),
        apart=np.array([-1, 2, 4, 8, 8]), together=np.array([-1, 8, 8, 8]),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim)["w1"] == (6, 3, 3, 3)
    assert [kept.channels for kept in certificate.kept_zero] == [1]


def test_unread_channels_go() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) y = Conv<{PAD}>(r, w2) }}",
        w1=w(6, 3, 3, 3), w2=w(2, 6, 3, 3, zero=(0, 4), axis=1),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 3, 3), "w2": (2, 4, 3, 3)}
    assert [(entry.reason, entry.channels) for entry in certificate.removed] == [("unread", 2)]
