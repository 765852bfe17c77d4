"""The rivals: Torch-Pruning on the PyTorch module, onnxsim on the ONNX file; inner channels only, as ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from onnx import ModelProto
from torch import Tensor, nn

from compress.train.recalibrate import recalibrate
from tests.benchmarks.post_training.field import BATCH, Network, macs

STEPS = 100  # of Torch-Pruning from all channels to none
LABELLED = 256  # training images per step of Taylor
SAMPLE = torch.zeros(2, 3, 32, 32)


def torch_pruning(module: nn.Module, network: Network, criterion: str, factors: list[float]) -> Iterator[nn.Module]:
    """The module at each of ``factors`` (rising) times fewer MACs: iterative, global, inner channels only."""
    import torch_pruning as tp

    module = copy.deepcopy(module)
    inner = [layer for name, layer in module.named_modules() if name.endswith("conv1") and "." in name]
    kept = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in inner]
    kinds = {"l2": tp.importance.GroupMagnitudeImportance(p=2), "taylor": tp.importance.GroupTaylorImportance()}
    steps = STEPS if criterion == "l2" else STEPS // 4
    pruner = tp.pruner.BasePruner(
        module,
        SAMPLE,
        kinds[criterion],
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=0.95,
        iterative_steps=steps,
        ignored_layers=kept,
    )
    full = tp.utils.count_ops_and_params(module, SAMPLE)[0]
    images, labels = next(network.drawn(0).batches(LABELLED, network.spec))
    for factor in factors:
        while tp.utils.count_ops_and_params(module, SAMPLE)[0] * factor > full:
            if criterion == "taylor":
                module.zero_grad()
                nn.functional.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
            pruner.step()
        yield copy.deepcopy(module).eval()


def reestimated(module: nn.Module, network: Network) -> nn.Module:
    """The same with BatchNorm statistics of the calibration images."""
    module = copy.deepcopy(module)
    pairs = network.drawn(0).batches(BATCH, network.spec)
    recalibrate(module, ((torch.from_numpy(images), Tensor()) for images, _ in pairs))
    return module.eval()


def onnxsim_wanda(network: Network, factor: float) -> ModelProto:
    """onnxsim's structured pruning with calibration, at the sparsity that takes enough MACs."""
    from onnxsim.pruning import apply_structured_wanda_pruning

    feeds = network.feeds(0)
    full, low, high = macs(network.model), 0.0, 1.0
    for _ in range(6):
        middle = (low + high) / 2
        found = apply_structured_wanda_pruning(network.model, feeds[:1], sparsity=middle)
        low, high = (middle, high) if macs(found) * factor > full else (low, middle)
    model: ModelProto = apply_structured_wanda_pruning(network.model, feeds, sparsity=high)
    return model
