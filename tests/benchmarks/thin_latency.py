"""Is a shrunk model as fast as the same widths built thin?

``python -m tests.benchmarks.thin_latency`` zeroes half of every family of channels of three networks, shrinks them, and
times each in turns with the network that is built and exported with half the widths. Expected: 1.00 +- 0.02.
Exit status 1: the shapes differ, or a ratio does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from onnx import ModelProto
from torch import nn

import graph
from graph.candidates.classes import Classes, classes
from graph.export import export
from graph.values import Mask
from runtime.bench import bench
from runtime.measure import Plan
from runtime.settings import Settings
from tests.benchmarks.rivals.report import table
from tests.benchmarks.zoo.prepare import randomise
from tests.graph.thin_nets import Sum, conv, head

SIDE = 224
TOLERANCE = 0.02


def resnet50(width: int) -> nn.Module:
    """With ``width`` channels where the published one has 64."""
    layers: list[nn.Module] = [conv(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, after = width << stage, 4 * width << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            reduce, spatial = conv(before, inner, 1), conv(inner, inner, 3, stride)
            branch = nn.Sequential(reduce, nn.ReLU(), spatial, nn.ReLU(), conv(inner, after, 1))
            layers += [Sum(branch, conv(before, after, 1, stride) if before != after else None), nn.ReLU()]
            before = after
    return nn.Sequential(*layers, *head(before))


def vgg16(width: int) -> nn.Module:
    """With a linear layer behind the mean, and ``width`` channels where the published one has 64."""
    layers: list[nn.Module] = []
    before = 3
    for times, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [conv(before, times * width), nn.ReLU()]
            before = times * width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(before))


def mobilenet_v2(width: int) -> nn.Module:
    """With ``width`` channels where the published one has 32, which then are multiples of 8 all over."""
    return torchvision.models.mobilenet_v2(width_mult=width / 32, num_classes=10)


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], int]] = {  # and the thin width
    "ResNet-50": (resnet50, 32),
    "MobileNetV2": (mobilenet_v2, 32),
    "VGG-16": (vgg16, 32),
}


def half(found: Classes) -> Mask:
    """A random half of every family [classes, bool]."""
    rng = np.random.default_rng(0)
    chosen = np.zeros(len(found), np.bool_)
    for number in np.unique(found.family):
        members = np.flatnonzero(found.family == number)
        chosen[rng.choice(members, members.size // 2, replace=False)] = True
    return chosen


def built(make: Callable[[int], nn.Module], width: int) -> ModelProto:
    """A network with random weights."""
    torch.manual_seed(0)
    module, sample = make(width).eval(), torch.randn(2, 3, SIDE, SIDE)
    randomise(module, sample)
    return export(module, sample, name="net")


def shapes(model: ModelProto) -> Counter[tuple[int, ...]]:
    return Counter(tuple(tensor.dims) for tensor in model.graph.initializer)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.thin_latency", description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--seconds", type=float, default=60, help="at most for one network")
    options = parser.parse_args()
    rows, wrong = [], []
    for name in options.networks.split(","):
        make, width = NETWORKS[name]
        thin, wide = built(make, width), built(make, 2 * width)
        found = classes(graph.analyse(wide))
        slim, _ = graph.shrink(found.zeroed(half(found)))
        if shapes(slim) != shapes(thin):
            wrong.append(f"{name}: other shapes than those of the thin network")
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{each}.onnx") for each in ("slim", "thin")]
            for model, path in zip((slim, thin), paths, strict=True):
                graph.save(model, path)
            plan = Plan(precision=0.005, max_time=options.seconds, min_time=min(10, options.seconds))
            result = bench(*paths, settings=Settings(threads=1), plan=plan)
        assert result.reference and result.comparison
        ratio = result.comparison.ratio
        times = [f"{each.median * 1e3:.2f} ms" for each in (result.reference, result.candidate)]
        said = f"{ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
        rows.append([name, *times, said])
        if abs(ratio.estimate - 1) > TOLERANCE:
            wrong.append(f"{name}: {said}")
    print(table(["network", "built thin", "shrunk", "thin / shrunk"], rows))
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
