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
from compress.errors import NotEqual, UserError
from compress.files import staged
from compress.models import MODELS, build
from compress.models.check import output_of
from compress.models.resolve import own, pretrained
from compress.registry import did_you_mean
from compress.train import checkpoint, load_run
from graph.export import export
from runtime import Parity, open_session
from runtime.parity import compare_arrays

Shape = tuple[int, int, int]

RTOL, ATOL = 1e-3, 1e-5  # PyTorch and ONNX Runtime sum in different orders, over the whole depth
BATCH, BATCHES = 32, 4
CIFAR: tuple[Shape, int] = (3, 32, 32), 10  # what the zoo's models are for
IMAGENET: tuple[Shape, int] = (3, 224, 224), 1000  # and everybody else's


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


def resolve(
    name: str,
    *,
    model: str | None = None,
    shape: Shape | None = None,
    classes: int | None = None,
    random: bool = False,
) -> Target:
    """Find the network that ``name`` means: a run, a checkpoint (with ``model``), or the name of a model.

    Args:
        name: of a run's folder, a checkpoint, or a model.
        model: what a checkpoint that is no run holds the weights of.
        shape: (C, H, W) of one input; None for the usual one.
        classes: None for the usual number, or what ``module:callable`` makes by default.
        random: take random weights where trained ones are expected.

    Raises:
        UserError: there is no such thing, or weights are missing and random ones were not asked for.
    """
    path = Path(name)
    if path.exists():
        return _checkpoint(path, model, shape, classes) if model else _run(path, shape)
    library, _, rest = name.rpartition(":")
    if not library and name not in MODELS:
        raise UserError(
            f"'{name}' is no file here and no model; {did_you_mean(name, MODELS.names())}give a run's "
            f"folder, a checkpoint, torchvision:NAME, module:callable or one of {', '.join(MODELS.names())}"
        )
    if library == "torchvision" and not random:
        if classes is not None:
            raise UserError(f"the trained weights of {name} have classes of their own: leave --classes out")
        return Target(rest, pretrained(rest).eval(), shape or IMAGENET[0])
    if library in ("", "timm") and not random:
        raise UserError(f"'{name}' has no trained weights here: export a run of it, or ask for --random-init")
    torch.manual_seed(0)
    return _built(name, shape, classes)


def export_file(target: Target, out: Path, *, opset: int) -> Parity:
    """Export, compare with PyTorch on real images where they are at hand, else on random ones, and write.

    Raises:
        UserError: the network does not read such images, or returns something else than one tensor; torch does
            not know the opset; or the file cannot be written.
        ModelError: torch cannot export the network, or the disk is full.
        NotEqual: the outputs differ.
    """
    output_of(target.module, target.shape)
    sample = torch.zeros(2, *target.shape)
    model = export(target.module, sample, name=target.name, opset=opset, metadata=_metadata(target))
    written = next(each.version for each in model.opset_import if not each.domain)
    if written != opset:
        raise UserError(f"torch cannot export {target.name} to opset {opset}, it falls back to {written}: ask for that")
    with staged(out) as trial:
        graph.save(model, trial)
        parity = _compare(target, trial)
        if not parity.within(RTOL, ATOL):
            raise NotEqual(
                f"ONNX Runtime and PyTorch differ by {parity.max_abs:.2g} (relative {parity.max_rel:.2g}) "
                f"on {target.name}; nothing was written"
            )
    return parity


def _built(name: str, shape: Shape | None, classes: int | None) -> Target:
    library, _, rest = name.rpartition(":")
    usual_shape, usual_classes = IMAGENET if library else CIFAR
    shape = shape or usual_shape
    if classes is None and library not in ("", "torchvision", "timm"):  # it knows how many it has
        module = own(name, channels=shape[0], in_channels=shape[0])
    else:
        module = build(name, classes=classes or usual_classes, channels=shape[0])
    return Target(rest, module.eval(), shape)


def _checkpoint(path: Path, model: str, shape: Shape | None, classes: int | None) -> Target:
    target = _built(model, shape, classes)
    checkpoint.load_weights(target.module, checkpoint.weights(path), str(path), model)
    return target


def _run(path: Path, shape: Shape | None) -> Target:
    module, config, trained_shape = load_run(path)
    data = _data_of(config.data, config.data_dir) if shape in (None, trained_shape) else None
    return Target(config.model.rpartition(":")[2], module, shape or trained_shape, data)


def _data_of(name: str, folder: Path | None) -> datasets.Data | None:
    """The data of a run; None where it is not here and random inputs have to do."""
    try:
        data = datasets.load(name, folder)
        return data if len(data.validation) else None
    except UserError:
        return None


def _images(target: Target) -> Iterator[np.ndarray]:
    if target.data is not None:
        for images, _ in islice(target.data.validation.batches(BATCH, target.data.spec), BATCHES):
            yield images
    else:
        generator = np.random.default_rng(0)
        for _ in range(BATCHES):
            yield generator.standard_normal((4, *target.shape), dtype=np.float32)


def _compare(target: Target, model: Path) -> Parity:
    session = open_session(model)
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
