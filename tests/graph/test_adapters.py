"""Forks and joins: each branch may keep channels of its own, where that pays or where the user wants it."""

from __future__ import annotations

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import pytest
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from models import Weights, assert_same, build, ops, shrunk, widths
from networks import network
from onnx import ModelProto

import graph
from graph.choosing.adapters import Select

PAD = "pads=[1,1,1,1]"


def preactivation(width: int, dead: float, blocks: int = 3) -> ModelProto:
    """A pre-activation ResNet: the BatchNorm before every block ignores channels of its own choice."""
    w, rng = Weights(), np.random.default_rng(0)
    weights = {"w": w(width, 3, 3, 3), "head": w(4, width)}
    text, stream = f"s0 = Conv<{PAD}>(x, w) ", "s0"
    for block in range(blocks + 1):
        zero = tuple(np.flatnonzero(rng.random(width) < dead).tolist())
        weights |= w.norm(width, zero=zero, prefix=f"n{block}")
        norm = ", ".join(f"n{block}{name}" for name in "gbmv")
        text += f"a{block} = BatchNormalization({stream}, {norm}) r{block} = Relu(a{block}) "
        if block < blocks:
            weights |= {f"u{block}": w(width, width, 3, 3), f"v{block}": w(width, width, 3, 3)}
            text += (
                f"c{block} = Conv<{PAD}>(r{block}, u{block}) q{block} = Relu(c{block}) "
                f"d{block} = Conv<{PAD}>(q{block}, v{block}) s{block + 1} = Add({stream}, d{block}) "
            )
            stream = f"s{block + 1}"
    text += f"p = GlobalAveragePool(r{blocks}) f = Flatten(p) y = Gemm<transB=1>(f, head)"
    return build(f"(float[N,3,16,16] x) => (y) {{ {text} }}", **weights)


def densenet(growth: int, dead: float, layers: int = 4) -> ModelProto:
    """A dense block: every layer reads all earlier ones, and ignores channels of its own choice."""
    w, rng = Weights(), np.random.default_rng(0)
    weights, text, names, width = {"w": w(growth, 3, 3, 3)}, f"s0 = Conv<{PAD}>(x, w) ", ["s0"], growth
    for layer in range(layers):
        zero = tuple(np.flatnonzero(rng.random(width) < dead).tolist())
        weights |= w.norm(width, zero=zero, prefix=f"n{layer}") | {f"u{layer}": w(growth, width, 3, 3)}
        norm = ", ".join(f"n{layer}{name}" for name in "gbmv")
        text += f"t{layer} = Concat<axis=1>({', '.join(names)}) " if layer else ""
        text += f"a{layer} = BatchNormalization({f't{layer}' if layer else 's0'}, {norm}) r{layer} = Relu(a{layer}) "
        text += f"s{layer + 1} = Conv<{PAD}>(r{layer}, u{layer}) "
        names, width = [*names, f"s{layer + 1}"], width + growth
    weights["head"] = w(4, width)
    text += f"t = Concat<axis=1>({', '.join(names)}) p = GlobalAveragePool(t) f = Flatten(p) "
    return build(f"(float[N,3,16,16] x) => (y) {{ {text} y = Gemm<transB=1>(f, head) }}", **weights)


def adapters(model: ModelProto) -> int:
    return sum(kind in ("Gather", "Pad") for kind in ops(model))


@pytest.mark.parametrize("model", [preactivation(24, 0.5), densenet(12, 0.5)], ids=["preactivation", "dense"])
def test_adapters_are_inserted_never_always_or_where_they_pay(model: ModelProto) -> None:
    found = {select: graph.shrink(model, select=select) for select in ("never", "auto", "always")}
    for slim, _ in found.values():
        assert_same(model, slim)
    left = {select: certificate.output.parameters for select, (_, certificate) in found.items()}
    assert left["always"] <= left["auto"] <= left["never"]
    assert left["always"] < left["never"]
    assert adapters(found["never"][0]) == 0
    assert adapters(found["always"][0]) > 0


def test_a_wide_layer_pays_for_its_gather_and_a_narrow_one_does_not() -> None:
    for width, dead, wanted in ((64, 0.8, True), (8, 0.3, False)):
        slim, _ = shrunk(preactivation(width, dead, blocks=2))
        assert (adapters(slim) > 0) == wanted


@pytest.mark.parametrize("select", ["never", "auto", "always"])
def test_a_dead_branch_needs_no_adapter(select: Select) -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1) b = Relu(a) c = Conv<{PAD}>(b, w2) d = Add(c, b) "
        "y = Conv(d, w3) }",
        w1=w(8, 3, 3, 3), w2=w(8, 8, 3, 3) * 0, w3=w(2, 8, 1, 1),
    )  # fmt: skip
    slim, _ = graph.shrink(model, select=select)
    assert_same(model, slim)
    assert ops(slim) == ["Conv", "Relu", "Conv"]


@pytest.mark.parametrize("order", ["p, c", "c, p"])
def test_a_dead_operand_that_gives_a_sum_its_shape_stays(order: str) -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1) b = Relu(a) p = GlobalAveragePool(b) "
        f"c = Conv<{PAD}>(b, w2) d = Add({order}) y = Conv(d, w3) }}",
        w1=w(8, 3, 3, 3), w2=w(8, 8, 3, 3) * 0, w3=w(2, 8, 1, 1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert "Add" in ops(slim)


def test_an_adapter_reads_what_is_left_of_a_sum() -> None:
    """The sum loses its dead operand, and one of its readers half of its channels."""
    w = Weights()
    scale = w(16, 1, 1, zero=tuple(range(12)))
    model = build(
        f"(float[N,3,8,8] x) => (y, z) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) d = Add(a, b) "
        "e = Mul(d, scale) y = Conv(e, w3) z = Conv(d, w4) }",
        w1=w(16, 3, 3, 3), w2=w(16, 16, 3, 3) * 0, scale=scale, w3=w(64, 16, 1, 1), w4=w(2, 16, 1, 1),
    )  # fmt: skip
    slim, _ = graph.shrink(model, select="always")
    assert_same(model, slim)
    assert ops(slim).count("Gather") == 1 and "Add" not in ops(slim)
    assert widths(slim)["w3"] == (64, 4, 1, 1)


def test_an_adapter_reads_what_another_one_makes() -> None:
    """Of the sum one operand is left, without its zeros; one reader needs those, another one selects."""
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y, z, u) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) d = Add(a, b) "
        "y = Conv(d, w3) z = Relu(d) u = Conv(a, w4) }",
        w1=w(16, 3, 3, 3, zero=(14, 15)), w2=w(16, 16, 3, 3) * 0, w4=w(64, 16, 1, 1),
        w3=np.ascontiguousarray(w(16, 4, 1, 1, zero=tuple(range(8, 16))).swapaxes(0, 1)),
    )  # fmt: skip
    slim, _ = graph.shrink(model, select="always")
    assert_same(model, slim)
    assert ops(slim).count("Gather") == 2 and "Add" not in ops(slim)


@pytest.mark.parametrize("select", ["never", "always"])
@pytest.mark.parametrize("seed", range(40))
def test_any_network_stays_the_same(seed: int, select: Select) -> None:
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=6)]
    model = network(seed, picked)
    slim, _ = graph.shrink(model, select=select)
    assert_same(model, slim)
    if select == "never":
        assert adapters(slim) <= adapters(model)
