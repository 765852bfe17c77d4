"""Layers that read a channel can read another one in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compress.bridge.coupling import Coupling
from compress.bridge.readers import Reader


class Inputs:
    """The inputs of a convolution or linear layer, which are channels of groups.

    Args:
        module: the layer.
        weight: its weight, [inputs, ...], a view.
        groups: by number of an input, its group.
    """

    def __init__(self, module: nn.Module, weight: Tensor, groups: dict[int, int]) -> None:
        self.module, self.weight = module, weight
        self.place = {group: place for place, group in groups.items()}
        self.moments: Tensor | None = None  # sums of products of inputs

    def note(self, inputs: Tensor) -> None:
        """Add to the moments."""
        channels = inputs.detach().float().movedim(-1 if isinstance(self.module, nn.Linear) else 1, 0).flatten(1)
        self.moments = channels @ channels.T + (0 if self.moments is None else self.moments)

    def merge(self, kept: int, gone: int) -> None:
        """Read group ``kept`` instead of ``gone``, with the factor for which the mean squared error is smallest."""
        assert self.moments is not None
        i, j = self.place[kept], self.place[gone]
        factor = self.moments[i, j] / self.moments[i, i].clamp(min=torch.finfo(self.moments.dtype).tiny)
        self.weight[i] += factor * self.weight[j]
        self.weight[j] = 0


class Consumers:
    """All that reads the channels of coupled groups.

    Args:
        model: whose groups they are.
        coupling: of the model.
        listening: whether the layers note their inputs in this pass of training.
    """

    def __init__(self, model: nn.Module, coupling: Coupling, listening: Callable[[], bool]) -> None:
        modules = {id(each): module for module in model.modules() for each in module.parameters(recurse=False)}
        uses = Counter(id(reader.parameter) for reader in coupling.readers)
        self.listening = listening
        self.layers: list[Inputs] = []
        self.others: set[int] = set()  # groups that something else reads
        for reader in coupling.readers:
            groups = {place: group for place, group in enumerate(reader.groups.tolist()) if group < len(coupling)}
            weight, module = reader.parameter, modules.get(id(reader.parameter))
            if weight is None or module is None or uses[id(weight)] > 1 or not _by_channel(module, reader, groups):
                self.others.update(groups.values())
                continue
            layer = Inputs(module, weight.detach().movedim(reader.axis, 0), groups)
            module.register_forward_pre_hook(self._noting(layer))
            self.layers.append(layer)

    def agree(self) -> None:
        """Add up what all processes have noted."""
        for layer in self.layers:
            if layer.moments is not None and dist.is_initialized():
                dist.all_reduce(layer.moments)

    @torch.no_grad()
    def merge(self, kept: int, gone: int) -> bool:
        """Let all that reads ``gone`` read ``kept`` in its place; False, and nothing is changed, if that cannot be."""
        readers = [layer for layer in self.layers if gone in layer.place]
        able = gone not in self.others and all(kept in layer.place and layer.moments is not None for layer in readers)
        for layer in readers if able else []:
            layer.merge(kept, gone)
        return able

    def forget(self) -> None:
        """Drop what was noted."""
        for layer in self.layers:
            layer.moments = None

    def _noting(self, layer: Inputs) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if module.training and self.listening():
                layer.note(inputs[0])

        return note


def _by_channel(module: nn.Module, reader: Reader, groups: dict[int, int]) -> bool:
    """Whether ``module`` sums over all its inputs, which are those of ``reader``, and no group has two of them."""
    if isinstance(module, nn.Linear):
        inputs = module.in_features
    elif isinstance(module, _ConvNd) and module.groups == 1:
        inputs = module.in_channels
    else:
        return False
    return inputs == len(reader.groups) and len(set(groups.values())) == len(groups)
