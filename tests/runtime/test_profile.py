from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.profile import WARM_UP, macs, profile
from runtime.settings import Settings

ONE = Settings(threads=1)
NET = """
g (float[N,3,8,8] x) => (float[N,4] y)
<float[16,3,3,3] w = {0}, float[16,4] m = {0}, int64[3] p = {0, 0, 0}>
{
    a = Conv<pads = [1, 1, 1, 1]>(x, w)
    b = Relu(a)
    c = GlobalAveragePool(b)
    d = Flatten(c)
    y = MatMul(d, m)
}"""
BRANCHES = """
g (float[N] x, bool c) => (float[N] y) {
    y = If(c) <
        then_branch = t () => (float[N] a) { s = Sin(x) a = Cos(s) },
        else_branch = e () => (float[N] b) { b = Neg(x) }
    >
}"""


def net(build):
    """The network with weights of the right sizes."""
    text = NET
    for name, count in (("w", 16 * 27), ("m", 64)):
        values = ", ".join(str(1 + number) for number in range(count))
        text = text.replace(f"{name} = {{0}}", f"{name} = {{{values}}}")
    return build(text.replace(", int64[3] p = {0, 0, 0}", ""))


def test_every_operator_has_a_time_and_sums_have_their_macs(build):
    x = np.ones((2, 3, 8, 8), np.float32)
    found = profile(net(build), {"x": x}, ONE, seconds=0.05)
    sums = {op.kind.removeprefix("Fused"): op for op in found.ops if op.macs}
    assert set(sums) == {"Conv", "MatMul"}
    assert sums["Conv"].macs == 2 * 16 * 64 * 27 and sums["Conv"].width == 16
    assert sums["MatMul"].macs == 2 * 4 * 16 and sums["MatMul"].width == 4
    assert all(op.seconds >= 0 and op.provider == "CPUExecutionProvider" for op in found.ops)
    assert found.seconds == pytest.approx(sum(op.seconds for op in found.ops)) and found.runs >= 5
    assert json.loads(json.dumps(found.to_dict()))["runs"] == found.runs


def test_what_only_moves_data_says_so(build):
    text = "g (float[4,6] x) => (float[6,4] y) { a = Sin(x) y = Transpose<perm = [1, 0]>(a) }"
    found = profile(build(text), {"x": np.ones((4, 6), np.float32)}, ONE, seconds=0.0)
    assert {op.kind: op.moves for op in found.ops} == {"Sin": False, "Transpose": True}


def test_operators_inside_of_control_flow_are_counted_once(build):
    feeds = {"x": np.ones(4, np.float32), "c": np.array(True)}
    found = profile(build(BRANCHES), feeds, ONE, seconds=0.0)
    assert [op.kind for op in found.ops] == ["If"]


def test_the_runs_that_warm_up_do_not_count(monkeypatch):
    """A trace as onnxruntime writes it: the first runs take a second each, the others a microsecond."""
    from runtime.profile import _read

    said = {"node_index": "0", "op_name": "Relu", "input_type_shape": [], "output_type_shape": [], "provider": "cpu"}
    events = []
    for number in range(WARM_UP + 4):
        events.append({"name": "model_run", "cat": "Session", "ts": number * 2_000_000, "dur": 1_000_000})
        took = 1_000_000 if number < WARM_UP else 1
        events.append({"name": "r_kernel_time", "cat": "Node", "ts": number * 2_000_000 + 1, "dur": took, "args": said})
    found = _read(events)
    assert found.runs == 4 and found.ops[0].seconds == pytest.approx(1e-6) and found.arena_bytes is None


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "expected"),
    [
        ("Conv", [(1, 8, 10, 10), (4, 8, 3, 3), (4,)], [(1, 4, 10, 10)], 4 * 100 * 72),
        ("FusedConv", [(1, 8, 10), (8, 1, 3)], [(1, 8, 10)], 8 * 10 * 3),
        ("QLinearConv", [(1, 8, 9, 9), (), (), (4, 8, 1, 1)], [(1, 4, 9, 9)], 4 * 81 * 8),
        ("ConvTranspose", [(1, 8, 5, 5), (8, 4, 2, 2)], [(1, 4, 10, 10)], 200 * 16),
        ("Gemm", [(2, 64), (10,)], [(2, 10)], 2 * 10 * 64),
        ("MatMul", [(2, 3, 7), (7, 5)], [(2, 3, 5)], 30 * 7),
        ("Relu", [(4,)], [(4,)], 0),
        ("Conv", [(1, 8, 10, 10)], [(1, 4, 10, 10)], 0),
    ],
)
def test_macs_from_shapes(kind, inputs, outputs, expected):
    assert macs(kind, inputs, outputs) == expected
