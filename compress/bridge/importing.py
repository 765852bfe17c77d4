"""From an ONNX file back to the PyTorch module that it was exported from, so that what was pruned there can be trained.

No names are matched. The module is exported once more, as a float64 copy whose parameters hold the numbers of their own
elements (as in `coupling`), and both graphs are gone through side by side: what stands in the one tells where a value
of the other belongs. The BatchNorm layers of that copy do nothing but add their shift, so that where the exporter folds
one into the layer before it, the shift is found in that layer's bias.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import graph
from compress.bridge.coupling import Numbers, element_numbers, numbered
from compress.errors import UserError
from graph.export import export
from graph.model.nodes import key, label
from graph.model.program import Program
from graph.model.reader import read
from runtime.session import Array

TAKE_IN = {"Conv", "ConvTranspose", "Gemm"}  # what the exporter folds BatchNorm into
ROUNDING = 1e-5  # of the sum of two numbers; their fractions are random


@torch.no_grad()
def load_onnx(module: nn.Module, path: Path, shape: tuple[int, int, int], name: str) -> dict[str, str]:
    """Load the weights of an ONNX file into the module that it is an export of; what is zero there is zero then.

    Args:
        module: on the CPU; what it holds does not matter.
        path: the file.
        shape: (C, H, W) of an image.
        name: of the model, for messages.

    Returns:
        For each BatchNorm layer that is folded in the file, the layer that it is folded into, both by name. In the
        module it only adds a shift now, and knows no statistics, see `compress.train.unfolding`.

    Raises:
        ModelError: the file is damaged, or torch cannot export the module.
        UserError: the file is no export of the module, or holds values that the module has no place for.
    """
    found = read(graph.load(path))
    try:
        return _Pattern(module, shape).load(found)
    except _Misfit as misfit:
        raise UserError(
            f"{path} does not fit model {name}: {misfit}; give what `compress export` and `compress prune` made of "
            "this model, before `compress shrink`"
        ) from None


class _Misfit(Exception):  # noqa: N818  it says what does not fit
    pass


class _Pattern:
    """The export of a module in which every parameter holds the numbers of its elements."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        self.module = module
        self.parameters = dict(module.named_parameters())
        self.ends = np.cumsum([parameter.numel() for parameter in self.parameters.values()])
        self.numbers = element_numbers(int(self.ends[-1]))
        self.values = np.full(self.numbers.size, np.nan)  # of all elements, as far as they were found
        self.layers = _layers(module)
        self.folded: dict[str, str] = {}
        self.normalising: list[tuple[Tensor, Array]] = []  # scales and statistics of layers that are not folded
        twin = numbered(module, self.numbers)
        for layer in _layers(twin).values():
            only_shift(layer)
        self.program = read(export(twin, torch.zeros(2, *shape, dtype=torch.float64), name="pattern"))

    def load(self, found: Program) -> dict[str, str]:
        """Write what ``found`` holds into the module; which layers it has folded into which."""
        for ours, theirs in zip_longest(self.program.nodes, found.nodes):
            if ours is None or theirs is None or key(ours) != key(theirs):
                here, there = (label(node) if node else "its end" for node in (ours, theirs))
                raise _Misfit(f"it has {there} where the model has {here}")
            for slot in range(max(len(ours.input), len(theirs.input))):
                self._take(ours, theirs, slot, found)
            if key(ours) == "BatchNormalization":
                layer = self.layers.get(self._owner(self._read(ours, 2)))
                if layer is None:
                    raise _Misfit(f"{label(ours)} has no shift to learn")
                for slot, tensor in zip((1, 3, 4), scaling(layer), strict=True):
                    self.normalising.append((tensor, found.constants[theirs.input[slot]]))
        self._write()
        return self.folded

    def _take(self, ours: NodeProto, theirs: NodeProto, slot: int, found: Program) -> None:
        """Note the values of one input of a node, if it is a constant."""
        name, other = (node.input[slot] if slot < len(node.input) else "" for node in (ours, theirs))
        here, there = self.program.constants.get(name), found.constants.get(other)
        if not name and there is not None and there.any():
            raise _Misfit(f"{label(theirs)} has a bias, and the layer of the model none")
        if here is None or here.dtype.kind != "f":
            return
        if not other:
            there = np.zeros_like(here)  # a bias of zeros, which the exporter leaves out
        if there is None or there.shape != here.shape:
            what = "something computed" if there is None else list(there.shape)
            raise _Misfit(f"input {slot} of {label(theirs)} is {what}, and in the model {list(here.shape)}")
        places = self._places(here)
        if slot == 2 and key(ours) in TAKE_IN:
            places = self._bias(ours, here, places)
        made = places[places >= 0]
        known, new = self.values[made], there[places >= 0]
        if (known[~np.isnan(known)] != new[~np.isnan(known)]).any():
            raise _Misfit(f"{label(theirs)} has other values than another layer with the same weights")
        self.values[made] = new

    def _places(self, value: Array) -> Numbers:
        """The elements that a constant is made of; -1 for others."""
        places = np.clip(value, 0, self.numbers.size - 1).astype(np.int64)
        return np.where(np.abs(self.numbers[places] - value) < ROUNDING, places, -1)

    def _read(self, node: NodeProto, slot: int) -> Numbers:
        return self._places(self.program.constants[node.input[slot]])

    def _owner(self, places: Numbers) -> str:
        """The layer whose elements these are, by name; empty if they are none."""
        number = int(np.searchsorted(self.ends, places.max(initial=-1), side="right"))
        return list(self.parameters)[number].rpartition(".")[0] if places.max(initial=-1) >= 0 else ""

    def _bias(self, node: NodeProto, value: Array, places: Numbers) -> Numbers:
        """Where the bias of a node belongs: to its layer, or to the BatchNorm that is folded into that."""
        layer = self._owner(self._read(node, 1))
        if (places < 0).all() and f"{layer}.bias" in self.parameters:  # a sum of both: the one is 0 then
            own = self._elements(f"{layer}.bias")
            self.values[own] = 0
            places = self._places(value - self.numbers[own])
        if self._owner(places) in self.layers:
            self.folded[self._owner(places)] = layer
        return places

    def _elements(self, name: str) -> slice:
        end = int(self.ends[list(self.parameters).index(name)])
        return slice(end - self.parameters[name].numel(), end)

    def _write(self) -> None:
        """Write all values into the module, or none."""
        scales = {id(self.layers[name].weight) for name in self.folded} | {id(each) for each, _ in self.normalising}
        for name, parameter in self.parameters.items():
            if id(parameter) not in scales and np.isnan(self.values[self._elements(name)]).any():
                raise _Misfit(f"it does not say what '{name}' is")
        for name, parameter in self.parameters.items():
            parameter.copy_(torch.from_numpy(self.values[self._elements(name)]).view(parameter.shape))
        for name in self.folded:
            only_shift(self.layers[name])
        for tensor, value in self.normalising:
            tensor.copy_(torch.tensor(value))


def _layers(module: nn.Module) -> dict[str, _BatchNorm]:
    """All BatchNorm layers with scales and statistics, by name."""
    layers = {name: each for name, each in module.named_modules() if isinstance(each, _BatchNorm)}
    return {name: each for name, each in layers.items() if each.affine and each.track_running_stats}


def scaling(layer: _BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, mean and variance of a layer that has them."""
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.weight, layer.running_mean, layer.running_var


def only_shift(layer: _BatchNorm) -> None:
    """Let a layer in evaluation mode do nothing but add its shift."""
    scale, mean, variance = scaling(layer)
    scale.fill_(1)
    mean.zero_()
    variance.fill_(1 - layer.eps)
