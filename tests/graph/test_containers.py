"""The forms that a file may have: opsets, types, and the places where weights lie."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from models import Array, Weights, build, ops, run, session, shrunk, widths
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

import graph
from graph import ModelError
from graph.model.reader import read

TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "bfloat16": ml_dtypes.bfloat16}
FIRST = {"bfloat16": 22, "double": 14}  # Conv has no bfloat16 before; onnx's reference of BatchNormalization is wrong
NEWEST = onnx.defs.onnx_opset_version()
NOISE = {"float": 1e-5, "float16": 5e-3, "double": 1e-12, "bfloat16": 4e-2}


def small(kind: str, opset: int) -> ModelProto:
    """A network with zero rows and columns, a dead BatchNormalization channel, and one that is constant."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (6, 8, 3, 3), "w3": (8, 14, 1, 1), "w4": (5, 8), "b1": (8,), "b4": (5,)}
    shapes |= dict.fromkeys("gbmv", (8,))
    weights = {name: rng.uniform(0.5, 1.5, shape) for name, shape in shapes.items()}  # nothing cancels
    weights["w1"][1] = weights["b1"][1] = weights["b"][1] = weights["w2"][0] = 0
    weights["m"][1] = weights["w2"][:, 3] = weights["w3"][:, 3] = weights["g"][2] = weights["b"][2] = weights["g"][
        6
    ] = 0
    return build(
        f"({kind}[N,3,H,W] x) => ({kind}[N,5] y) {{ a = Conv<pads=[1,1,1,1]>(x, w1, b1)"
        " n = BatchNormalization(a, g, b, m, v) r = Relu(n) c = Conv<pads=[1,1,1,1]>(r, w2) k = Concat<axis=1>(r, c)"
        " e = Conv(k, w3) p = GlobalAveragePool(e) f = Reshape(p, s) y = Gemm<transB=1>(f, w4, b4) }",
        opset=opset, s=np.array([0, -1]), **{name: value.astype(TYPES[kind]) for name, value in weights.items()},
    )  # fmt: skip


def outputs(model: ModelProto, x: Array) -> Array:
    """By ONNX Runtime, or by onnx's reference where it has no such kernel or opset."""
    try:
        judge = session(model)
    except Exception:  # its exceptions share no narrower base
        return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0], np.float64)
    return np.asarray(judge.run(None, {"x": x})[0], np.float64)


@pytest.mark.parametrize(
    ("kind", "opset"), [(kind, opset) for kind in TYPES for opset in range(FIRST.get(kind, 7), NEWEST + 1)]
)
def test_every_opset_and_type(kind: str, opset: int) -> None:
    model = small(kind, opset)
    slim, certificate = graph.shrink(model)
    onnx.checker.check_model(slim, full_check=True)
    assert widths(slim)["w1"] == (5, 3, 3, 3) and widths(slim)["w3"] == (8, 10, 1, 1)
    assert {tensor.data_type for tensor in slim.graph.initializer} == {t.data_type for t in model.graph.initializer}
    assert certificate.input.parameters == sum(np.prod(t.dims) for t in model.graph.initializer if t.name != "s")
    x = np.random.default_rng(1).uniform(0, 1, (2, 3, 8, 8)).astype(TYPES[kind])
    before, after = outputs(model, x), outputs(slim, x)
    assert np.abs(before - after).max() <= NOISE[kind] * np.abs(before).max()


FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "my" : 1]>
g (float[N,3,8,8] x) => (float[N,2,8,8] y) { h = my.layer<slope = 0.5>(x, w1) z = my.layer(h, w2) y = my.twice(z) }
<domain: "my", opset_import: ["" : 20]>
layer <slope: float = 1.0> (p, w) => (r) { c = Conv(p, w) r = LeakyRelu<alpha: float = @slope>(c) }
<domain: "my", opset_import: ["" : 20, "my" : 1]>
twice (p) => (r) { q = Identity(p) r = Add(p, q) }"""


def functions() -> ModelProto:
    model = parser.parse_model(FUNCTION)
    w = Weights()
    weights = {"w1": w(6, 3, 1, 1, zero=(1, 4)), "w2": w(2, 6, 1, 1)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    for place, node in enumerate([*model.graph.node, *(node for each in model.functions for node in each.node)]):
        node.name, node.doc_string = f"node{place}", f"a {node.op_type}"
        node.metadata_props.add(key="kind", value=node.op_type)
    return model


def test_functions_are_inlined() -> None:
    model = functions()
    slim, _ = shrunk(model)
    assert not slim.functions
    assert widths(slim) == {"w1": (4, 3, 1, 1), "w2": (2, 4, 1, 1)}
    assert len({node.name for node in slim.graph.node}) == len(slim.graph.node)
    assert all(node.doc_string == f"a {node.op_type}" for node in slim.graph.node)
    assert all(node.metadata_props[0].value == node.op_type for node in slim.graph.node)


def test_functions_of_another_opset_stay() -> None:
    model = functions()
    for each in model.functions:
        each.opset_import[0].version = 19
    slim, certificate = graph.shrink(model)
    assert [node.op_type for node in slim.graph.node] == ["layer", "layer", "twice"]
    assert slim.functions == model.functions
    assert certificate.output.parameters == certificate.input.parameters


def test_functions_that_call_themselves() -> None:
    model = functions()
    model.functions[0].node.add(op_type="layer", domain="my", input=["p", "w"], output=["odd"])
    model.functions[0].opset_import.add(domain="my", version=1)
    with pytest.raises(ModelError, match=r"cannot inline.*my::layer"):
        graph.analyse(model)


def as_sparse(tensor: TensorProto, *, flat: bool) -> onnx.SparseTensorProto:
    array = numpy_helper.to_array(tensor)
    places = np.argwhere(array)
    values = numpy_helper.from_array(array[tuple(places.T)], tensor.name)
    indices = np.ravel_multi_index(tuple(places.T), array.shape) if flat else places
    return helper.make_sparse_tensor(values, numpy_helper.from_array(indices, f"{tensor.name}_indices"), array.shape)


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_initializers(flat: bool) -> None:
    """What is cut is stored densely; the others stay as they are."""
    w = Weights()
    model = build(
        "(float[N,3] x) => (float[N,4] y) { a = MatMul(x, w1) r = Relu(a) b = MatMul(r, w2) s = Softmax(b)"
        " y = MatMul(s, w3) }",
        w1=w(3, 6, zero=(1, 4), axis=1), w2=w(6, 5, zero=(2,), axis=1), w3=w(5, 4, zero=(2,)),
    )  # fmt: skip
    dense = [tensor for tensor in model.graph.initializer if tensor.name in ("w2", "w3")]
    for tensor in dense:
        model.graph.sparse_initializer.append(as_sparse(tensor, flat=flat))
        model.graph.initializer.remove(tensor)
    slim, certificate = graph.shrink(model)
    feeds = {"x": w(5, 3)}
    np.testing.assert_allclose(run(slim, feeds)["y"], run(model, feeds)["y"], rtol=1e-5)
    assert {tensor.name: tuple(tensor.dims) for tensor in slim.graph.initializer} == {"w1": (3, 4), "w2": (4, 5)}
    assert [tensor.values.name for tensor in slim.graph.sparse_initializer] == ["w3"]
    assert certificate.input.parameters == 18 + 30 + 20


def test_weights_that_are_inputs_too() -> None:
    w = Weights()
    model = build(
        "(float[N,3] x) => (float[N,4] y) { a = MatMul(x, w1) r = Exp(a) t = Transpose(w2) y = MatMul(r, t) }",
        ir=3, opset=9, w1=w(3, 6, zero=(1, 4), axis=1), w2=w(4, 6),
    )  # fmt: skip
    slim, _ = shrunk(model)
    stored = {tensor.name: tuple(tensor.dims) for tensor in slim.graph.initializer}
    assert sorted(stored.values()) == [(3, 4), (4,), (4, 4)] and stored["w1"] == (3, 4)
    listed = {value.name: value.type.tensor_type.shape for value in slim.graph.input if value.name != "x"}
    assert {name: tuple(dim.dim_value for dim in shape.dim) for name, shape in listed.items()} == stored


def test_constant_nodes_of_every_kind() -> None:
    w = Weights()
    model = build(
        "(float[N,3] x) => (float[N,4] y, int64[N] i) { a = MatMul(x, w1) f = Constant<value_float=2.5>() b = Mul(a, f)"
        " g = Constant<value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]>() c = Add(b, g) r = Relu(c)"
        " y = MatMul(r, w2) k = Constant<value_int=1>() n = ArgMax<axis=1, keepdims=0>(y)"
        " z = Constant<value_ints=[-1]>() m = Add(n, k) i = Reshape(m, z) }",
        w1=w(3, 6, zero=(1, 4), axis=1), w2=w(6, 4, zero=(1, 3)),
    )  # fmt: skip
    stored = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in stored:
        node = helper.make_node("Constant", [], [tensor.name], name=f"{tensor.name}_node", value=tensor)
        if tensor.name == "w2":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("sparse_value", as_sparse(tensor, flat=True)))
        model.graph.node.insert(0, node)
    slim, certificate = shrunk(model)
    assert ops(slim).count("Constant") == ops(model).count("Constant")
    assert [tensor.name for tensor in slim.graph.initializer] == ["y_bias"], "what the constants at 1 and 4 leave"
    found = widths(slim)
    assert (found["w1"], found["g"], found["w2"]) == ((3, 3), (3,), (3, 4))
    assert certificate.input.parameters - certificate.output.parameters == 3 * (3 + 1 + 4) - 4


def test_shared_weights_are_split_where_uses_lose_other_channels() -> None:
    w = Weights()
    model = build(
        "(float[N,6] x) => (float[N,6] y) { a = MatMul(x, w1) r = Relu(a) b = MatMul(r, w1) y = Tanh(b) }",
        w1=w(6, 6, zero=(1, 4), axis=1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert sorted(widths(slim).values()) == [(4, 6), (6, 4)]


def test_names_and_notes_stay() -> None:
    model = build(
        "(float[N,3,H,W] image) => (float[N,2,H,W] mask) { a = Conv(image, w1, b1) r = Relu(a) mask = Conv(r, w2) }",
        w1=Weights()(6, 3, 1, 1, zero=(1, 4)), b1=Weights()(6, zero=(1, 4)), w2=Weights()(2, 6, 1, 1),
    )  # fmt: skip
    model.doc_string, model.graph.doc_string = "a model", "a graph"
    named = [
        model,
        model.graph,
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.value_info,
        *model.graph.input,
    ]
    for place, each in enumerate(named):
        each.metadata_props.add(key="place", value=str(place))
        each.doc_string = f"number {place}"
    for place, node in enumerate(model.graph.node):
        node.name = f"the node {place}"
    slim, _ = shrunk(model)
    notes = [(getattr(each, "name", ""), each.doc_string, each.metadata_props[0].value) for each in named]
    kept = [slim, slim.graph, *slim.graph.node, *slim.graph.initializer, *slim.graph.value_info, *slim.graph.input]
    assert [(getattr(each, "name", ""), each.doc_string, each.metadata_props[0].value) for each in kept] == notes
    assert [dim.dim_param for dim in slim.graph.output[0].type.tensor_type.shape.dim] == ["N", "", "H", "W"]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("length", [1, 7])
def test_open_batch_and_sequence(batch: int, length: int) -> None:
    w = Weights()
    model = build(
        "(int64[N,T] tokens, float[N,T,6] extra) => (float[N,T,3] y) { e = Gather(table, tokens) s = Add(e, extra_w)"
        " a = MatMul(s, w1) r = Relu(a) b = MatMul(r, w2) c = Add(b, extra) y = MatMul(c, w3) }",
        table=w(11, 6), extra_w=w(6), w1=w(6, 8, zero=(1, 4), axis=1), w2=w(8, 6), w3=w(6, 3),
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    assert widths(slim)["w1"] == (6, 6)
    feeds = {"tokens": np.ones((batch, length), np.int64), "extra": w(batch, length, 6)}
    np.testing.assert_allclose(run(slim, feeds)["y"], run(model, feeds)["y"], rtol=1e-5, atol=1e-5)


def test_sizes_of_one_name_are_read_as_one() -> None:
    """A state [layers, batch, features] has its batch in the middle."""
    program = read(
        build(
            "(float[N,4] x, float[2,N,4] h) => (float[2,N,4] y) { y = Add(x, h) }",
        )
    )
    assert program.shapes["h"] == (2, 2, 4) == program.shapes["y"]
    assert {name: list(axes) for name, axes in program.dynamic.items()} == {"x": [0], "h": [1], "y": [1]}


@pytest.mark.parametrize("kind", TYPES)
def test_weights_that_are_not_finite_hold_what_they_read(kind: str) -> None:
    model = small(kind, 22)
    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            weight = numpy_helper.to_array(tensor).copy()
            weight[0, 5] = np.inf
            tensor.CopyFrom(numpy_helper.from_array(weight, "w3"))
    slim, certificate = graph.shrink(model)
    assert widths(slim)["w3"] == (8, 13, 1, 1), "all but the channel that nothing weighs"
    assert any(entry.op == "Conv:e" and "not finite" in entry.why for entry in certificate.frozen)
