"""A graph run piece by piece on calibration data; what later pieces read is kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from compress.errors import UserError
from graph.model.nodes import captured
from graph.model.program import Program
from graph.tracing.trace import Use
from runtime import Settings, open_session
from runtime.session import Array, Feeds


def pieces(program: Program, stops: Sequence[int]) -> list[tuple[list[int], int | None]]:
    """All nodes in an order in which each of ``stops`` comes as late as it can.

    Returns:
        Nodes that can be run, and the stop that they lead to; ``None`` after the last one.
    """
    waiting, known = list(range(len(program.nodes))), {*program.inputs, *program.constants, ""}
    stopping = set(stops)
    found: list[tuple[list[int], int | None]] = []
    while True:
        ready: list[int] = []
        later: list[int] = []
        stop: int | None = None
        for index in waiting:
            able = known.issuperset([*program.nodes[index].input, *captured(program.nodes[index])])
            if able and index not in stopping:
                ready.append(index)
                known.update(program.nodes[index].output)
            else:
                stop = index if able and stop is None else stop
                later.append(index)
        found.append((ready, stop))
        if stop is None:
            return found
        known.update(program.nodes[stop].output)
        waiting = [index for index in later if index != stop]


def samples(feeds: Feeds) -> int:
    """How many samples are fed at once."""
    return max((len(array) for array in feeds.values() if array.ndim), default=1)


class Walk:
    """A model on its way through its graph.

    Args:
        program: the graph.
        batches: what it is fed with.
        values: new values of its constants, by use; they may change between two runs.
        settings: how nodes are run.

    Attributes:
        tensors: per batch, the activations that nodes to come read, and the outputs.
    """

    def __init__(
        self, program: Program, batches: Sequence[Feeds], values: Mapping[Use, Array], settings: Settings
    ) -> None:
        self.program, self.values, self.settings = program, values, settings
        self.tensors: list[MutableMapping[str, Array]] = [dict(batch) for batch in batches]
        self.left = {name: len(users) for name, users in program.consumers.items()}

    def run(self, indices: Sequence[int]) -> None:
        """Run these nodes, all of whose inputs are known by then, on every batch.

        Raises:
            SessionError: onnxruntime cannot run them.
            UserError: one makes a sequence for nodes to come.
        """
        nodes = [self.program.nodes[index] for index in indices]
        read = {name for node in nodes for name in [*node.input, *captured(node)]}
        for node in nodes:
            for name in {*node.input, *captured(node)} & self.left.keys():
                self.left[name] -= 1
        wanted = [name for node in nodes for name in node.output if self._wanted(name)]
        inputs = [name for name in self.tensors[0] if name in read and name not in self.program.constants]
        if wanted:
            content = self._model(indices, inputs, wanted).SerializeToString()
            session = open_session(content, self.settings)
            for tensors in self.tensors:
                found = session.run({name: tensors[name] for name in inputs})
                if odd := [name for name, value in found.items() if isinstance(value, list)]:
                    raise UserError(f"'{odd[0]}' is a sequence of tensors: layers around one cannot be fitted")
                tensors.update(found)
        for tensors in self.tensors:
            for name in [name for name in tensors if not self._wanted(name)]:
                del tensors[name]

    def _wanted(self, name: str) -> bool:
        computed = name and name not in self.program.constants
        return bool(computed and self.left.get(name)) or name in self.program.outputs

    def _model(self, indices: Sequence[int], inputs: Sequence[str], outputs: Sequence[str]) -> ModelProto:
        """These nodes as a model."""
        program, graph = self.program, GraphProto(name="piece")
        constants: set[str] = set()
        for index in indices:
            node = NodeProto()
            node.CopyFrom(program.nodes[index])
            for (owner, slot), value in self.values.items():
                if owner == index:
                    node.input.extend([""] * (slot + 1 - len(node.input)))
                    node.input[slot] = f"{index}/{slot}"
                    graph.initializer.append(numpy_helper.from_array(value, node.input[slot]))
            constants.update(name for name in [*node.input, *captured(node)] if name in program.constants)
            graph.node.append(node)
        made = {name for node in graph.node for name in node.output}
        for name in sorted(constants - made):
            graph.initializer.append(numpy_helper.from_array(program.constants[name], name))
        for name in inputs:
            kind = helper.np_dtype_to_tensor_dtype(self.tensors[0][name].dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, None))
        graph.output.extend(ValueInfoProto(name=name) for name in outputs)
        return ModelProto(
            ir_version=max(program.model.ir_version, 4), opset_import=program.model.opset_import, graph=graph
        )
