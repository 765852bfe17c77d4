"""From whatever a person calls a model to an ONNX file that was checked against PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

import graph
from compress import data as datasets
from compress.errors import UserError
from compress.files import atomic
from compress.models import MODELS, build
from compress.train import checkpoint
from compress.train.run import read_run
from graph.export import export
from runtime import Parity, Settings, open_session
from runtime.parity import compare_arrays

Shape = tuple[int, int, int]

RTOL, ATOL = 1e-3, 1e-5  # PyTorch and ONNX Runtime sum in different orders, over the whole depth
BATCH, BATCHES = 32, 4
IMAGENET: Shape = (3, 224, 224)


class NotEqual(Exception):  # noqa: N818  it is a finding, not an error
    """The exported model differs from PyTorch; nothing was written."""


@dataclass(frozen=True)
class Target:
    """A network and what it is fed with.

    Attributes:
        name: for the graph.
        module: in evaluation mode on the CPU.
        shape: (C, H, W) of one input.
        data: its data set, where it was trained by this project and the data is still there.
    """

    name: str
    module: nn.Module
    shape: Shape
    data: datasets.Data | None = None


@dataclass(frozen=True)
class Exported:
    """The agreement of ONNX Runtime with PyTorch, and whether it was measured on real images."""

    parity: Parity
    real: bool


def resolve(
    name: str, *, model: str | None = None, shape: Shape | None = None, classes: int | None = None, random: bool = False
) -> Target:
    """Find the network that ``name`` means: a run, a checkpoint (with ``model``), or the name of a model.

    Raises:
        UserError: there is no such thing, or weights are missing and random ones were not asked for.
    """
    path = Path(name)
    if path.exists():
        return _from_file(path, model, shape, classes)
    if ":" not in name and name not in MODELS:
        raise UserError(
            f"'{name}' is no file here and no model of the zoo; give a run folder, a checkpoint, torchvision:NAME, "
            f"module:callable or one of: {', '.join(MODELS.names())}"
        )
    library = name.partition(":")[0]
    if library == "torchvision" and not random:
        return Target(name.partition(":")[2], _pretrained(name.partition(":")[2]), shape or IMAGENET)
    if (library == "timm" or ":" not in name) and not random:
        raise UserError(f"'{name}' has no trained weights here: export a run of it, or ask for --random-init")
    default = IMAGENET if ":" in name else (3, 32, 32)
    shape = shape or default
    torch.manual_seed(0)
    module = build(name, classes=classes or (1000 if ":" in name else 10), channels=shape[0])
    return Target(name.partition(":")[2] or name, module.eval(), shape)


def export_file(target: Target, out: Path, *, opset: int) -> Exported:
    """Export, compare with PyTorch on real images where they are at hand and random ones otherwise, and write.

    Raises:
        ModelError: torch cannot export the network.
        UserError: the file cannot be written.
        NotEqual: the outputs differ.
    """
    sample = torch.from_numpy(next(_images(target)))
    model = export(target.module, sample, name=target.name, opset=opset, metadata=_metadata(target))
    with atomic(out) as temporary:
        graph.save(model, temporary)
        parity = _compare(target, temporary)
        if not parity.within(RTOL, ATOL):
            raise NotEqual(
                f"ONNX Runtime and PyTorch differ by {parity.max_abs:.2g} (relative {parity.max_rel:.2g}) "
                f"on {target.name}; nothing was written"
            )
    return Exported(parity, target.data is not None)


def _from_file(path: Path, model: str | None, shape: Shape | None, classes: int | None) -> Target:
    if model is not None:
        shape = shape or (3, 32, 32)
        module = build(model, classes=classes or 10, channels=shape[0])
        checkpoint.load_weights(module, checkpoint.weights(path), str(path), model)
        return Target(model.partition(":")[2] or model, module.eval(), shape)
    from compress.train import TrainConfig

    state = read_run(path)
    config = TrainConfig.from_dict(state["config"], str(path))
    module = build(config.model, classes=state["classes"], channels=state["shape"][0])
    checkpoint.load_weights(module, state["model"], str(path), config.model)
    channels, height, width = state["shape"]
    found = shape or (channels, height, width)
    try:
        data: datasets.Data | None = datasets.load(config.data, config.data_dir)
        _ = data and data.validation
    except UserError:
        data = None  # trained elsewhere: random inputs will have to do
    return Target(config.model.partition(":")[2] or config.model, module.eval(), found, data)


def _pretrained(name: str) -> nn.Module:
    from torchvision import models

    build(f"torchvision:{name}", classes=2)  # says which name is nearest if there is none
    try:
        return models.get_model(name, weights="DEFAULT").eval()  # type: ignore[no-any-return]
    except Exception as error:  # urllib's, or a hash that does not fit
        raise UserError(
            f"cannot download the weights of torchvision:{name} ({error}); --random-init exports it without them"
        ) from error


def _images(target: Target) -> Iterator[np.ndarray]:
    if target.data is not None:
        for images, _ in islice(target.data.validation.batches(BATCH, target.data.spec), BATCHES):
            yield images
    else:
        generator = np.random.default_rng(0)
        for _ in range(BATCHES):
            yield generator.standard_normal((4, *target.shape), dtype=np.float32)


def _compare(target: Target, path: Path) -> Parity:
    session = open_session(path, Settings())
    total, seen = None, 0
    for images in _images(target):
        with torch.inference_mode():
            expected = target.module(torch.from_numpy(images)).numpy()
        found = compare_arrays("output", expected, session.run({"input": images})["output"])
        total, seen = (total.merge(found) if total else found), seen + len(images)
    assert total is not None
    return Parity((total,), seen, session.provider)


def _metadata(target: Target) -> dict[str, str]:
    """How an image becomes an input, for whoever receives the file without the training code."""
    if target.data is None:
        return {}
    spec = target.data.spec
    scaling = {"scale": 1 / 255, "mean": spec.mean, "std": spec.std, "layout": "NCHW"}
    return {"preprocessing": json.dumps(scaling), "labels": json.dumps(spec.class_names)}
