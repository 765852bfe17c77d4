"""Small vision transformers with attention written out, in the forms that exporters give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper, parser, shape_inference

IMAGE, PATCH, WIDTH, HEADS = 8, 2, 8, 2
PATCHES = (IMAGE // PATCH) ** 2
BLOCKS = 3
PACKINGS = ("apart", "gather", "split", "slice", "computed", "fused")
LAYERS = [f"weights{block}" for block in range(BLOCKS)]  # what the softmaxes make, or attention in one op

Keep = Mapping[str, NDArray[np.bool_]]


@dataclass
class Transformer:
    """Lines of onnx's text form, and weights.

    Attributes:
        packing: how queries, keys and values come out of their projection; ``computed``, as TorchScript has it, with
            sizes that are read from tensors; ``fused`` with attention as one op.
        pool: what the head reads: the token of the class, or the mean of all.
        masked: tokens that attention and mean look at, by what makes them; the reference for their removal.
    """

    packing: str = "apart"
    pool: str = "class"
    blocks: int = BLOCKS
    masked: Keep | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.lines: list[str] = []
        self.weights: dict[str, NDArray[Any]] = {}

    @property
    def tokens(self) -> int:
        return PATCHES + (self.pool == "class")

    def weight(self, name: str, *shape: int) -> str:
        self.weights[name] = (self.rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        return name

    def sizes(self, name: str, *values: int) -> str:
        self.weights[name] = np.array(values, np.int64)
        return name

    def linear(self, out: str, source: str, before: int, after: int) -> str:
        """Product and bias."""
        weight, bias = self.weight(f"{out}_w", before, after), self.weight(f"{out}_b", after)
        self.lines += [f"{out}_product = MatMul({source}, {weight})", f"{out} = Add({out}_product, {bias})"]
        return out

    def norm(self, out: str, source: str) -> str:
        scale, shift = self.weight(f"{out}_w", WIDTH), self.weight(f"{out}_b", WIDTH)
        self.lines.append(f"{out} = LayerNormalization <axis = -1> ({source}, {scale}, {shift})")
        return out

    def parts(self, block: int, source: str) -> list[str]:
        """Queries, keys and values [N, heads, tokens, width of a head]."""
        names = [f"{letter}{block}" for letter in "qkv"]
        flat = [f"{name}_flat" for name in names]
        if self.packing == "computed":
            packed = self.linear(f"packed{block}", source, WIDTH, 3 * WIDTH)
            sizes = [f"size{place}_{block}" for place in range(2)]
            for place, name in enumerate(sizes):
                self.lines.append(f"{name} = Gather <axis = 0> (shape{block}, {self.sizes(f'axis{place}', place)})")
            ends = self.sizes("ends", 3, HEADS, WIDTH // HEADS)
            self.lines[-2:-2] = [f"shape{block} = Shape({source})"]
            self.lines += [
                f"target{block} = Concat <axis = 0> ({', '.join(sizes)}, {ends})",
                f"apart{block} = Reshape({packed}, target{block})",
                f"turned{block}_parts = Transpose <perm = [2, 0, 3, 1, 4]> (apart{block})",
                f"{', '.join(flat)} = Split <axis = 0> (turned{block}_parts, {self.sizes('ones', 1, 1, 1)})",
            ]
            self.sizes("zero", 0)
            self.lines += [f"{name} = Squeeze({name}_flat, zero)" for name in names]
            return names
        if self.packing in ("apart", "fused"):
            for name in flat:
                self.linear(name, source, WIDTH, WIDTH)
        elif self.packing == "gather":
            packed = self.linear(f"packed{block}", source, WIDTH, 3 * WIDTH)
            self.lines.append(f"apart{block} = Reshape({packed}, {self.sizes('thirds', 0, -1, 3, WIDTH)})")
            for place, name in enumerate(flat):
                self.weights[f"place{place}"] = np.array(place, np.int64)
                self.lines.append(f"{name} = Gather <axis = 2> (apart{block}, place{place})")
        elif self.packing == "split":
            packed = self.linear(f"packed{block}", source, WIDTH, 3 * WIDTH)
            self.lines.append(f"{', '.join(flat)} = Split <axis = 2, num_outputs = 3> ({packed})")
        else:
            packed = self.linear(f"packed{block}", source, WIDTH, 3 * WIDTH)
            for place, name in enumerate(flat):
                bounds = [self.sizes(f"bound{end}", end * WIDTH) for end in (place, place + 1)]
                self.lines.append(f"{name} = Slice({packed}, {', '.join(bounds)}, {self.sizes('last', 2)})")
        heads = self.sizes("heads", 0, self.tokens, HEADS, WIDTH // HEADS)
        for name in names:
            self.lines += [
                f"{name}_heads = Reshape({name}_flat, {heads})",
                f"{name} = Transpose <perm = [0, 2, 1, 3]> ({name}_heads)",
            ]
        return names

    def attention(self, block: int, source: str) -> str:
        q, k, v = self.parts(block, source)
        scores = f"scores{block}"
        joined = self.sizes("joined", 0, -1, WIDTH)
        if self.packing == "fused":
            self.lines += [
                f"{LAYERS[block]} = Attention <scale = 1.0> ({q}, {k}, {v})",
                f"turned{block} = Transpose <perm = [0, 2, 1, 3]> ({LAYERS[block]})",
                f"joined{block} = Reshape(turned{block}, {joined})",
            ]
            return self.linear(f"attended{block}", f"joined{block}", WIDTH, WIDTH)
        self.lines += [
            f"{k}_turned = Transpose <perm = [0, 1, 3, 2]> ({k})",
            f"{scores} = MatMul({q}, {k}_turned)",
        ]
        if self.masked and (kept := self.masked.get(LAYERS[block])) is not None:
            self.weights[f"mask{block}"] = np.where(kept, 0, -np.inf).astype(np.float32)
            self.lines.append(f"masked{block} = Add({scores}, mask{block})")
            scores = f"masked{block}"
        self.lines += [
            f"weights{block} = Softmax <axis = -1> ({scores})",
            f"mixed{block} = MatMul(weights{block}, {v})",
            f"turned{block} = Transpose <perm = [0, 2, 1, 3]> (mixed{block})",
            f"joined{block} = Reshape(turned{block}, {joined})",
        ]
        return self.linear(f"attended{block}", f"joined{block}", WIDTH, WIDTH)

    def model(self, outputs: Sequence[str] = ("y",)) -> ModelProto:
        self.weight("embed", WIDTH, 3, PATCH, PATCH)
        self.weight("positions", 1, self.tokens, WIDTH)
        self.lines += [
            f"patches = Conv <strides = [{PATCH}, {PATCH}]> (x, embed)",
            f"line = Reshape(patches, {self.sizes('flat', 0, WIDTH, -1)})",
            "embedded = Transpose <perm = [0, 2, 1]> (line)",
        ]
        first = "embedded"
        if self.pool == "class":
            self.weight("token", 1, 1, WIDTH)
            self.lines += [
                "shape = Shape(embedded)",
                f"batch = Gather <axis = 0> (shape, {self.sizes('zero', 0)})",
                f"wanted = Concat <axis = 0> (batch, {self.sizes('one', 1, WIDTH)})",
                "spread = Expand(token, wanted)",
                "all = Concat <axis = 1> (spread, embedded)",
            ]
            first = "all"
        self.lines.append(f"stream = Add({first}, positions)")
        stream = "stream"
        for block in range(self.blocks):
            attended = self.attention(block, self.norm(f"before{block}", stream))
            self.lines.append(f"between{block} = Add({stream}, {attended})")
            hidden = self.linear(f"hidden{block}", self.norm(f"after{block}", f"between{block}"), WIDTH, 2 * WIDTH)
            self.lines.append(f"act{block} = Gelu({hidden})")
            back = self.linear(f"back{block}", f"act{block}", 2 * WIDTH, WIDTH)
            self.lines.append(f"stream{block} = Add(between{block}, {back})")
            stream = f"stream{block}"
        last = self.norm("last_norm", stream)
        if self.pool == "class":
            self.weights["first"] = np.array(0, np.int64)
            self.lines.append(f"pooled = Gather <axis = 1> ({last}, first)")
        else:
            if self.masked and (kept := self.masked.get("pooled")) is not None:
                self.weights["shares"] = (kept * kept.size / kept.sum()).astype(np.float32)[:, None]
                self.lines.append(f"shared = Mul({last}, shares)")
                last = "shared"
            self.lines.append(f"pooled = ReduceMean <keepdims = 0> ({last}, {self.sizes('second', 1)})")
        self.linear("y", "pooled", WIDTH, 5)
        ranks = {"y": "[N,C]", "stream": "[N,T,C]", "weights": "[N,H,T,S]"}
        declared = ", ".join(f"float{ranks[name.rstrip('0123456789')]} {name}" for name in outputs)
        lines = "\n".join(self.lines)
        body = parser.parse_graph(f"g (float[N,3,{IMAGE},{IMAGE}] x) => ({declared}) {{\n{lines}\n}}")
        body.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.weights.items())
        opset = 23 if self.packing == "fused" else 20
        model = helper.make_model(body, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
        return shape_inference.infer_shapes(model, data_prop=True)
