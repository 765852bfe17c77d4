"""Step 0: the model as the compiler sees it: nodes in order, a concrete shape for every tensor, the constants.

Dynamic sizes are given a probe size, so that every shape is a tuple of integers. A size that was probed is
not a constant: whatever the model computes from it stays computed. `reader` finds all this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from onnx import GraphProto, ModelProto, NodeProto

from graph.model.constants import Constants
from graph.model.evaluate import Array, evaluate
from graph.model.nodes import attributes, captured, key, label
from graph.model.shapes import Shape

__all__ = ["Constants", "Program", "Shape", "attributes", "captured", "key", "label"]


@dataclass
class Program:
    """A graph with everything that is known about it without knowing its input.

    Attributes:
        model: the model, with its functions inlined; never changed here.
        graph: the model's graph, or one inside a node: a branch of If, the body of a Loop or Scan.
        nodes: its nodes, producers before consumers, without those that no output depends on.
        shapes: the concrete shape of every tensor that has one, dynamic sizes replaced by probe sizes.
        constants: initializers, those of the graphs around it too, and whatever is computed from them alone.
        probed: small tensors that are known at the probe sizes only: shapes, indices, scales.
        fixed: those of ``probed`` whose value does not depend on what is fed.
        dynamic: per tensor, the axes whose size depends on what is fed, and how many elements they have for one of
            the batch, or for one pixel or token; 0 if that differs.
        probe: the batch and the other open sizes that shapes were found at.
        outer: activations of the graphs around it that it reads.
        bodies: the graphs inside its nodes that are understood, by index of the node and name of the attribute.
    """

    model: ModelProto
    graph: GraphProto
    nodes: list[NodeProto]
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: Constants = field(default_factory=Constants)
    probed: dict[str, Array] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    dynamic: dict[str, dict[int, int]] = field(default_factory=dict)
    probe: tuple[int, int] = (1, 1)
    outer: list[str] = field(default_factory=list)
    bodies: dict[tuple[int, str], Program] = field(default_factory=dict)

    @cached_property
    def opset(self) -> int:
        """Version of the default operator set."""
        return self.version("")

    def version(self, domain: str) -> int:
        """Version of an operator set that the model imports."""
        same = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
        return next((entry.version for entry in self.model.opset_import if entry.domain in same), 1)

    @cached_property
    def inputs(self) -> list[str]:
        """Names of what is fed, or comes from outside (old files list their weights as inputs too)."""
        return [value.name for value in self.graph.input if value.name not in self.constants] + self.outer

    @cached_property
    def outputs(self) -> list[str]:
        """Names of what is returned."""
        return [value.name for value in self.graph.output]

    @cached_property
    def makers(self) -> dict[str, int]:
        """Index of the node that computes a tensor."""
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def batched(self) -> bool:
        """Whether the first axis of the first input that has any is a dynamic one, which was probed with a batch."""
        shapes = (value.type.tensor_type.shape for value in self.graph.input if value.name in self.inputs)
        first = next((shape.dim[0] for shape in shapes if shape.dim), None)
        return first is not None and first.dim_value <= 0

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        """Indices of the nodes that read a tensor, directly or inside a sub-graph; graph outputs are not listed."""
        readers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in dict.fromkeys([*node.input, *captured(node)]):
                if name:
                    readers.setdefault(name, []).append(index)
        return readers

    def matching(self, graph: GraphProto) -> list[NodeProto]:
        """The nodes of a copy of this graph in the order of ``nodes``."""
        found = {tuple(node.output): node for node in graph.node}
        return [found[tuple(node.output)] for node in self.nodes]

    def evaluate(self, node: NodeProto, inputs: list[Array | None]) -> list[Array]:
        """Outputs of ``node`` on the given arrays, at this model's opset."""
        return evaluate(node, self.model.opset_import, inputs)

    def known(self, name: str) -> Array | None:
        """The value of a tensor that is known, be it at the probe sizes only."""
        return self.constants[name] if name in self.constants else self.probed.get(name)

    def is_fixed(self, name: str) -> bool:
        """Whether a tensor has a known value that does not depend on what is fed."""
        return name in self.constants or name in self.fixed
