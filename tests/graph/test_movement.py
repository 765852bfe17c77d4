"""`move` on collapsed arrays is what onnx's reference does on the full ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Array
from onnx import NodeProto, defs, helper, numpy_helper

from graph.model.evaluate import CannotEvaluate, evaluate
from graph.model.program import Program
from graph.model.reader import read
from graph.tracing.movement import collapse, move, reshape, touched
from graph.tracing.padding import paddings

OPSET = [helper.make_opsetid("", 20)]
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def program(node: NodeProto, data: list[Array], parameters: dict[str, Array], opset: int = 20) -> Program:
    """A model of one node, its data fed and its parameters stored."""
    names = [name for name in node.input if name and name not in parameters]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, 7, array.shape) for n, array in zip(names, data, strict=True)],
        [helper.make_tensor_value_info(n, 7, None) for n in node.output],
        [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in parameters.items()],
    )
    return read(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)]))


def check(
    kind: str, full: list[Array], parameters: dict[str, Any], outputs: int = 1, opset: int = 20, **attributes: Any
) -> None:
    names = [f"x{place}" for place in range(len(full))]
    node = helper.make_node(kind, [*names, *parameters], [f"y{place}" for place in range(outputs)], **attributes)
    stored = {name: np.asarray(value, np.int64) for name, value in parameters.items() if name}
    expected = evaluate(node, [helper.make_opsetid("", opset)], [*full, *(stored.get(name) for name in parameters)])
    model = program(node, full, stored, opset)
    found = move(model, node, [collapse(array) for array in full], np.zeros((), np.int64))
    for name, got, want in zip(node.output, found, expected, strict=True):
        assert all(own in (1, size) for own, size in zip(got.shape, want.shape, strict=True))
        np.testing.assert_array_equal(np.broadcast_to(got, want.shape), want, name)
        np.testing.assert_array_equal(got, collapse(want), f"{name} is not collapsed")


@st.composite
def ids(draw: st.DrawFn, shape: list[int] | None = None) -> Array:
    """An array that varies along some axes only, with repeated values."""
    shape = draw(shapes) if shape is None else shape
    varying = [size if draw(st.booleans()) else 1 for size in shape]
    values = draw(st.lists(st.integers(0, 9), min_size=int(np.prod(varying)), max_size=int(np.prod(varying))))
    return np.array(np.broadcast_to(np.array(values, np.int64).reshape(varying), shape))


def factors(draw: st.DrawFn, total: int) -> list[int]:
    """A random shape of ``total`` elements."""
    shape = []
    while total > 1 and draw(st.booleans()):
        shape.append(draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0])))
        total //= shape[-1]
    return [*shape, total]


@given(st.data())
def test_reshape(data: st.DataObject) -> None:
    full = data.draw(ids())
    target = data.draw(st.composite(factors)(full.size))
    check("Reshape", [full], {"shape": target})
    if target.count(1) < len(target):
        place = data.draw(st.integers(0, len(target) - 1))
        check("Reshape", [full], {"shape": [*target[:place], -1, *target[place + 1 :]]})


@given(st.data())
def test_reshape_keeps_what_does_not_vary_collapsed(data: st.DataObject) -> None:
    full = data.draw(ids())
    target = tuple(data.draw(st.composite(factors)(full.size)))
    found = reshape(collapse(full), full.shape, target)
    np.testing.assert_array_equal(np.broadcast_to(found, target), full.reshape(target))


def test_reshape_costs_no_more_than_the_channels() -> None:
    found = reshape(np.arange(64).reshape(1, 64, 1, 1), (2, 64, 500, 500), (2, 4, 16, 250000))
    assert found.shape == (1, 4, 16, 1)


@given(st.data())
def test_transpose(data: st.DataObject) -> None:
    full = data.draw(ids())
    check("Transpose", [full], {}, perm=data.draw(st.permutations(range(full.ndim))))


@given(st.data())
def test_concat(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    parts = []
    for size in sizes:
        own = list(shape)
        own[axis] = size
        parts.append(data.draw(ids(own)))
    check("Concat", parts, {}, axis=axis)


@given(st.data())
def test_slice(data: st.DataObject) -> None:
    full = data.draw(ids())
    axes = data.draw(st.lists(st.integers(0, full.ndim - 1), unique=True, min_size=1))
    bounds = []
    for axis in axes:
        step = data.draw(st.sampled_from([1, 1, 2, -1, -2]))
        low, high = sorted(data.draw(st.tuples(st.integers(0, full.shape[axis] - 1), st.integers(1, full.shape[axis]))))
        if low == high:
            high = low + 1
        start, stop = (low, high) if step > 0 else (high - 1, low - 1 if low else -(2**40))
        bounds.append((start, stop, step))
    starts, ends, steps = zip(*bounds, strict=True)
    signed = [axis - full.ndim if data.draw(st.booleans()) else axis for axis in axes]
    check("Slice", [full], {"starts": starts, "ends": ends, "axes": signed, "steps": steps})


@given(st.data())
def test_split(data: st.DataObject) -> None:
    full = data.draw(ids())
    axis = data.draw(st.integers(-full.ndim, full.ndim - 1))
    sizes, left = [], full.shape[axis]
    while left:
        sizes.append(data.draw(st.integers(1, left)))
        left -= sizes[-1]
    check("Split", [full], {"split": sizes}, outputs=len(sizes), axis=axis)
    check("Split", [full], {}, outputs=full.shape[axis], axis=axis, num_outputs=full.shape[axis])


@given(st.data())
def test_gather(data: st.DataObject) -> None:
    full = data.draw(ids())
    axis = data.draw(st.integers(-full.ndim, full.ndim - 1))
    size = full.shape[axis]
    picks = data.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=4))
    shape = data.draw(st.sampled_from([(len(picks),), (1, len(picks)), (len(picks), 1)]))
    check("Gather", [full], {"indices": np.reshape(picks, shape)}, axis=axis)
    check("Gather", [full], {"indices": picks[0]}, axis=axis)


@given(st.data())
def test_squeeze_and_unsqueeze(data: st.DataObject) -> None:
    full = data.draw(ids())
    ones = [axis for axis, size in enumerate(full.shape) if size == 1]
    if ones:
        chosen = data.draw(st.lists(st.sampled_from(ones), unique=True, min_size=1))
        check("Squeeze", [full], {"axes": chosen})
        check("Squeeze", [full], {})
    check("Unsqueeze", [full], {"axes": data.draw(st.sampled_from([[0], [-1], [0, full.ndim + 1], [1]]))})


@given(st.data())
def test_flatten(data: st.DataObject) -> None:
    full = data.draw(ids())
    check("Flatten", [full], {}, axis=data.draw(st.integers(-full.ndim, full.ndim)))


@given(st.data())
def test_expand(data: st.DataObject) -> None:
    full = data.draw(ids())
    lead = data.draw(st.lists(st.integers(1, 3), max_size=2))
    target = [size if size > 1 else data.draw(st.integers(1, 3)) for size in full.shape]
    target = [1 if size > 1 and data.draw(st.booleans()) else size for size in target]
    target = [size if own == 1 or size == own else 1 for own, size in zip(full.shape, target, strict=True)]
    check("Expand", [full], {"shape": [*lead, *target]})


@given(st.data())
def test_tile(data: st.DataObject) -> None:
    full = data.draw(ids())
    check("Tile", [full], {"repeats": data.draw(st.lists(st.integers(1, 3), min_size=full.ndim, max_size=full.ndim))})


@given(st.data())
def test_pad(data: st.DataObject) -> None:
    """Axes that do not vary are padded with more of the same: there the padding counts as its row."""
    full = data.draw(ids())
    ndim = full.ndim
    varying = [axis for axis in range(ndim) if collapse(full).shape[axis] > 1]
    widths = [data.draw(st.integers(0, 2)) if place % ndim in varying else 0 for place in range(2 * ndim)]
    check("Pad", [full], {"pads": widths})


@given(st.data(), st.sampled_from(["DCR", "CRD"]), st.integers(1, 3))
def test_depth_and_space(data: st.DataObject, mode: str, block: int) -> None:
    batch, depth, height, width = data.draw(st.lists(st.integers(1, 3), min_size=4, max_size=4))
    deep = data.draw(ids([batch, depth * block**2, height, width]))
    check("DepthToSpace", [deep], {}, blocksize=block, mode=mode)
    wide = data.draw(ids([batch, depth, height * block, width * block]))
    check("SpaceToDepth", [wide], {}, blocksize=block)
    if defs.onnx_opset_version() >= 28:
        check("SpaceToDepth", [wide], {}, opset=28, blocksize=block, mode=mode)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-1, 0, [2, 3]), (0, -2, [1]), (-1, 2, [2, 3, 0, 0]), (1, -1, [0, 1, 2])]
)
def test_pad_that_crops(low: int, high: int, expected: list[int]) -> None:
    """Which onnx's reference cannot do."""
    full = np.array([[1, 2, 3]] * 2)
    node = helper.make_node("Pad", ["x0", "pads"], ["y0"])
    model = program(node, [full], {"pads": np.array([0, low, 0, high])})
    np.testing.assert_array_equal(move(model, node, [collapse(full)], np.zeros((), np.int64))[0], [expected])


@pytest.mark.parametrize(("low", "high"), [(-4, 4), (5, -4)])
def test_pad_that_crops_more_than_there_is(low: int, high: int) -> None:
    full = np.array([[1, 2, 3]] * 2)
    node = helper.make_node("Pad", ["x0", "pads"], ["y0"])
    model = program(node, [full], {"pads": np.array([0, low, 0, high])})
    with pytest.raises(CannotEvaluate, match="crops more than there is"):
        move(model, node, [collapse(full)], np.zeros((), np.int64))


@pytest.mark.parametrize(("low", "high", "expected"), [(-1, 2, [2, 3, 7, 8]), (1, 1, [7, 1, 2, 3, 8])])
def test_pad_with_channels_of_its_own(low: int, high: int, expected: list[int]) -> None:
    full = np.array([[1, 2, 3]] * 2)
    node = helper.make_node("Pad", ["x0", "pads"], ["y0"])
    model = program(node, [full], {"pads": np.array([0, low, 0, high])})
    np.testing.assert_array_equal(move(model, node, [collapse(full)], np.arange(7, 14))[0], [expected])


def test_pad_on_chosen_axes() -> None:
    full = np.arange(12).reshape(3, 4)
    check("Pad", [full], {"pads": [1, 2], "": None, "axes": [-1]})
    node = helper.make_node("Pad", ["x0", "pads", "", "axes"], ["y0"])
    model = program(node, [full], {"pads": np.array([1, 2]), "axes": np.array([-1])})
    assert paddings(model, node) == [(0, 0), (1, 2)]
    assert touched(model, node) == {0, 1}


def test_dropout_moves_nothing_unless_it_trains() -> None:
    full = np.arange(6.0).reshape(2, 3)
    for flag in (False, True):
        node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", 11, full.shape)],
            [helper.make_tensor_value_info("y", 11, None)],
            [numpy_helper.from_array(np.array(value), name) for name, value in (("ratio", 0.5), ("training", flag))],
        )
        model = read(helper.make_model(graph, ir_version=10, opset_imports=OPSET))
        if flag:
            with pytest.raises(CannotEvaluate):
                move(model, node, [full], np.zeros(()))
        else:
            np.testing.assert_array_equal(move(model, node, [full], np.zeros(()))[0], full)


@given(ids())
@settings(max_examples=200)
def test_collapse_loses_nothing(full: Array) -> None:
    small = collapse(full)
    np.testing.assert_array_equal(np.broadcast_to(small, full.shape), full)
    assert all(size == 1 or (small != small.take([0], axis)).any() for axis, size in enumerate(small.shape))
