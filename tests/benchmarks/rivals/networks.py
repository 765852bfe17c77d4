"""The torchvision networks of the comparison, with half of the channels of every coupled group switched off.

Torch-Pruning's dependency graph says which channels are coupled, and "ideal" is what Torch-Pruning leaves when it
removes exactly the channels that were switched off. Run as a program for one network,
``python -m tests.benchmarks.rivals.networks NAME FOLDER``, it writes FOLDER/{zeros,constants}.onnx and facts.json.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
import torchvision
from torch import Tensor, nn

from graph.export import export
from tests.benchmarks.rivals.judge import error, parameters, run
from tests.benchmarks.rivals.tools import Cell, first_line

CLASSES = 1000
SIDE = 224


@dataclass(frozen=True)
class Off:
    """Coupled channels to switch off.

    Attributes:
        root: name of the layer whose outputs they are.
        channels: indices of its outputs.
        members: (name of a module, its output channels) of everything that makes or scales these channels.
    """

    root: str
    channels: list[int]
    members: list[tuple[str, list[int]]]


def build(name: str) -> nn.Module:
    """A torchvision network with random weights and affine parameters, and BatchNorm statistics that fit them."""
    torch.manual_seed(0)
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **extra)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
            norm.momentum = None
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.bias.normal_(0, 0.1)
        model.train()(torch.randn(4, 3, SIDE, SIDE))  # with random statistics deep networks explode or fade
        for norm in norms:
            norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean))
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.7, 1.4))
    return model.eval()


def groups(model: nn.Module, sample: Tensor) -> list[Off]:
    """Half of the channels of every group that Torch-Pruning couples, at random.

    Convolutions with several channels per group lose the same positions in each of their groups: the only case
    that Torch-Pruning can remove.
    """
    import torch_pruning

    rng = random.Random(0)
    kinds = [nn.Conv2d, nn.Linear]
    graph_ = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=sample)
    name_of = {module: name for name, module in model.named_modules()}
    last = [m for m in model.modules() if _width(m) == CLASSES]
    found = []
    for group in graph_.get_all_groups(ignored_layers=last, root_module_types=kinds):
        root = group[0].dep.target.module
        width = _width(root)
        grouped = [d.target.module.groups for d, _ in group if _grouped(d.target.module)]
        period = width // max(grouped, default=1)
        positions = sorted(rng.sample(range(period), period // 2))
        channels = [start + place for start in range(0, width, period) for place in positions]
        group = graph_.get_pruning_group(root, graph_.get_pruner_of_module(root).prune_out_channels, channels)
        members = [
            (name_of[dep.target.module], [int(i) for i in idxs])
            for dep, idxs in group
            if dep.target.module in name_of and _makes(graph_, dep)
        ]
        found.append(Off(name_of[root], channels, members))
    return found


def _width(module: nn.Module) -> int:
    return int(getattr(module, "out_features", getattr(module, "out_channels", 0)))


def _grouped(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups < module.in_channels


def _makes(graph_: Any, dep: Any) -> bool:
    module = dep.target.module
    if isinstance(module, nn.BatchNorm2d):
        return True
    return isinstance(module, (nn.Conv2d, nn.Linear)) and graph_.is_out_channel_pruning_fn(dep.handler)


def switch_off(model: nn.Module, off: list[Off], *, constant: bool) -> nn.Module:
    """A copy in which these channels carry zero; or, if ``constant``, whatever their biases and betas say."""
    model = copy.deepcopy(model)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, channels in (member for group in off for member in group.members):
            module = modules[name]
            module.weight[channels] = 0
            if module.bias is not None and not constant:
                module.bias[channels] = 0
    return model


def remove(model: nn.Module, off: list[Off], sample: Tensor) -> nn.Module:
    """A copy without these channels, by Torch-Pruning."""
    import torch_pruning

    model = copy.deepcopy(model)
    graph_ = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=sample)
    modules = dict(model.named_modules())
    for group in off:
        root = modules[group.root]
        graph_.get_pruning_group(root, graph_.get_pruner_of_module(root).prune_out_channels, group.channels).prune()
    return model


def torch_simplify(model: nn.Module, of: int) -> Cell:
    """EIDOSLAB's simplify, compared inside torch: it makes modules that torch does not export."""
    sample = torch.randn(2, 3, SIDE, SIDE)
    try:
        from simplify import simplify

        with torch.no_grad():
            reference = model(sample)
            start = time.perf_counter()
            slim = simplify(copy.deepcopy(model), torch.zeros(1, 3, SIDE, SIDE), fuse_bn=True)
            seconds = time.perf_counter() - start
            outputs = slim.eval()(sample)
    except ModuleNotFoundError as problem:
        return {"failed": f"not installed ({problem.name})"}
    except Exception as problem:
        return {"failed": first_line(problem)}
    tensors = [*slim.parameters(), *(b for b in slim.buffers() if b.is_floating_point())]
    left = sum(tensor.numel() for tensor in tensors)
    wrong = error([reference.numpy()], [outputs.numpy()])
    return {"left": left, "of": of, "error": wrong, "seconds": seconds}


def prepare(name: str, folder: Path) -> dict[str, Cell]:
    """Write the files of network ``name`` and return the cells of the tools that work on torch modules."""
    sample = torch.randn(2, 3, SIDE, SIDE)
    model = build(name)
    facts: dict[str, Cell] = {}
    start = time.perf_counter()
    off = groups(model, sample[:1])
    slim = remove(model, off, sample[:1])
    seconds = time.perf_counter() - start
    ideal = export(slim, sample, name=name)
    for mode in ("zeros", "constants"):
        half = switch_off(model, off, constant=mode == "constants")
        exported = export(half, sample, name=name)
        onnx.save(exported, folder / f"{mode}.onnx")
        of = parameters(exported)
        wrong = error(run(exported), run(ideal))
        left = parameters(ideal)
        facts[f"{mode}/torch-pruning"] = {"left": left, "of": of, "error": wrong, "seconds": seconds}
        if mode == "constants":
            facts[f"{mode}/torch-simplify"] = torch_simplify(half, of)
    return facts


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    (target / "facts.json").write_text(json.dumps(prepare(sys.argv[1], target)))
