from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import Weights, build
from onnx import defs

from graph.model.reader import read
from graph.tracing.rules import ELEMENTWISE, MOVEMENT, SIGNATURES, signature
from graph.tracing.signature import OPAQUE, parse


def test_ellipsis_stands_for_any_number_of_opaque_axes() -> None:
    found = parse("n i ..., o i ..., o -> n o ...", [4, 4, 1], [4])
    assert found.operands == (("n", "i", OPAQUE, OPAQUE), ("o", "i", OPAQUE, OPAQUE), ("o",))
    assert found.outputs == (("n", "o", OPAQUE, OPAQUE),)
    assert found.summed == {"i"}


def test_ellipsis_may_be_empty() -> None:
    assert parse("n c ..., c -> n c ...", [2, 1], [2]).operands[0] == ("n", "c")


def test_absent_operands_have_no_axes() -> None:
    assert parse("n i, o i, o -> n o", [2, 2, None], [2]).operands[2] == ()


def test_fewer_operands_than_terms() -> None:
    assert len(parse("n i ..., o i ..., o -> n o ...", [3, 3], [3]).operands) == 2


@pytest.mark.parametrize(("ranks", "outputs"), [([3, 2], [2]), ([2, 2, 1, 1], [2]), ([2, 2], [2, 2]), ([2, 2], [3])])
def test_ranks_that_do_not_fit(ranks: list[int | None], outputs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"axes|terms"):
        parse("n i, o i, o -> n o", ranks, outputs)


@given(st.integers(2, 6), st.integers(2, 6))
def test_every_axis_has_a_letter(data: int, weight: int) -> None:
    found = parse("n i ..., o i ..., o -> n o ...", [data, weight, 1], [data])
    assert [len(axes) for axes in (*found.operands, *found.outputs)] == [data, weight, 1, data]


def test_every_op_is_in_one_table_and_known_to_onnx() -> None:
    assert not ELEMENTWISE & MOVEMENT
    assert (ELEMENTWISE | MOVEMENT) & set(SIGNATURES) == {"Gather"}  # with computed indices it is no movement
    known = {schema.name for schema in defs.get_all_schemas()}
    assert known >= ELEMENTWISE | MOVEMENT | set(SIGNATURES)


@pytest.mark.parametrize(
    ("node", "summed", "output"),
    [
        ("Conv(x, w)", {"i"}, ("n", "o", OPAQUE, OPAQUE)),
        ("Conv<group=4>(x, d)", set(), ("n", "c", OPAQUE, OPAQUE)),
        ("Conv<group=2>(x, g)", {"i"}, ("n", "o", OPAQUE, OPAQUE)),
        ("MaxPool<kernel_shape=[2,2]>(x)", set(), ("n", "c", OPAQUE, OPAQUE)),
        ("Softmax<axis=1>(x)", set(), ("a0", OPAQUE, "a2", "a3")),
        ("ReduceMean<keepdims=0>(x, axes)", set(), ("a0", "a1")),
        ("ReduceMean<noop_with_empty_axes=1>(x)", set(), ("a0", "a1", "a2", "a3")),
        ("MatMul(x, m)", {"k"}, ("b0", "b1", "m", "n")),
    ],
)
def test_signatures_of_nodes(node: str, summed: set[str], output: tuple[str, ...]) -> None:
    found = one(node)
    assert found is not None
    assert found.summed == summed
    assert found.outputs == (output,)


@pytest.mark.parametrize(
    "node",
    [
        "y, p, q = BatchNormalization<training_mode=1>(x, s, s, s, s)",
        "y, i = MaxPool<kernel_shape=[2,2]>(x)",
        "CumSum(x, computed)",
        "ReduceMean(x, computed)",
    ],
)
def test_what_has_no_rule(node: str) -> None:
    assert one(node) is None


def one(node: str) -> object:
    w = Weights()
    node = node if "= " in node.split("<")[0] else f"y = {node}"
    model = build(
        f"(float[2,4,8,8] x, int64[1] computed) => (float[a,b,c,d] y) {{ {node} }}"
        if "keepdims=0>" not in node
        else f"(float[2,4,8,8] x) => (float[a,b] y) {{ {node} }}",
        w=w(3, 4, 1, 1), d=w(4, 1, 1, 1), g=w(4, 2, 1, 1), m=w(8, 5), s=w(4), axes=w(2).astype("int64") * 0 + [2, 3],
        one=w(1).astype("int64") * 0 + 1,
    )  # fmt: skip
    program = read(model)
    return signature(program, program.nodes[-1])
