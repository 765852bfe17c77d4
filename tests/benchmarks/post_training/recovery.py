"""Training after pruning and repair, on many images or few: the original as a teacher, as in CURL, or labels only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graph
from compress.data import Data
from compress.data.cifar import cifar10
from compress.progress import Lines
from compress.train import TrainConfig, load_run, train
from tests.benchmarks.post_training.field import Network, onnx_of
from tests.benchmarks.post_training.ours import Pruner
from tests.benchmarks.post_training.rows import Row, Rows
from tests.benchmarks.rivals.report import table

FACTOR = 2.0
HELD_OUT = 0.002  # of the training images: nothing is decided by them
HERE = "tests.benchmarks.post_training.recovery"
COMMON = {"model": "resnet56", "data": f"{HERE}:images", "method": "sgd", "schedule": "cosine", "precision": "bf16"}
FEW = {"train_limit": 512, "batch_size": 32, "lr": 3e-3}
SLOW = {"lr": 3e-4}
SOME = {"train_limit": 5_000, "batch_size": 128, "lr": 3e-3, "epochs": 5}
ALL = {"batch_size": 128, "lr": 0.01, "epochs": 5}
TAUGHT = {"mix": "mixup"}  # and a teacher
REFINED = {"expand": True, "refine": True, "lr": 1e-4, "epochs": 3}  # and a teacher


class Way(NamedTuple):
    """A training: its name in the table, its settings, and the one it goes on from, if not from the pruned file."""

    title: str
    settings: dict[str, Any]
    after: str = ""


WAYS = {
    "few-plain": Way("512 images, 33 epochs at 0.003, labels only", {**FEW, "epochs": 33}),
    "few-taught": Way("512 images, 15 epochs at 0.003, mixup and teacher", {**FEW, **TAUGHT, "epochs": 15}),
    "few-refined": Way("the same, then 3 epochs, six copies, refined labels", {**FEW, **REFINED}, "few-taught"),
    "few-slow-plain": Way("512 images, 33 epochs at 0.0003, labels only", {**FEW, **SLOW, "epochs": 33}),
    "few-slow-distilled": Way("512 images, 15 epochs at 0.0003, teacher", {**FEW, **SLOW, "epochs": 15}),
    "few-slow-taught": Way(
        "512 images, 15 epochs at 0.0003, mixup and teacher", {**FEW, **SLOW, **TAUGHT, "epochs": 15}
    ),
    "few-slow-refined": Way(
        "the same, then 3 epochs, six copies, refined labels", {**FEW, **REFINED}, "few-slow-taught"
    ),
    "some-plain": Way("5,000 images, 5 epochs at 0.003, labels only", SOME),
    "some-taught": Way("5,000 images, 5 epochs at 0.003, mixup and teacher", {**SOME, **TAUGHT}),
    "some-distilled": Way("5,000 images, 5 epochs at 0.0003, teacher", {**SOME, **SLOW}),
    "all-plain": Way("49,900 images, 5 epochs at 0.01, labels only", ALL),
    "all-distilled": Way("49,900 images, 5 epochs at 0.01, teacher", ALL),
}


def images(data_dir: Path) -> Data:
    """CIFAR-10 with next to nothing held out, and few test images: the judge looks at all of them, but in ONNX."""
    source = cifar10(data_dir)
    return Data(replace(source, test=lambda: source.test().subset(np.arange(100))), validation=HELD_OUT)


def recovered(rows: Rows, net: Network, data: Path, name: str) -> Row:
    """The row of one training, after the one that it goes on from; what was broken off is resumed."""
    row = rows.get(f"{net.name}-{name}")
    if row is None:
        way, out = WAYS[name], rows.folder / "runs" / name
        before = recovered(rows, net, data, way.after)["seconds"] if way.after else 0.0
        settings = {**COMMON, **way.settings, "data_dir": data, "out": out}
        settings["init"] = rows.folder / "runs" / way.after if way.after else zeroed(rows, net)
        if not name.endswith("plain"):
            settings["distill"] = teacher(rows, net)
        config = TrainConfig.from_dict(settings)
        summary = train(config, resume=(out / "checkpoint.pt").exists(), progress=Lines())
        slim = graph.shrink(onnx_of(load_run(out)[0]))[0]
        row = rows.measure(f"{net.name}-{name}", net, slim, before + summary.seconds)
    return row


def teacher(rows: Rows, net: Network) -> Path:
    """The file of the teacher."""
    path = rows.folder / f"{net.name}.onnx"
    graph.save(net.model, path)
    return path


def zeroed(rows: Rows, net: Network) -> Path:
    """The file that all trainings start from: pruned and repaired as in the other table."""
    path = rows.folder / f"{net.name}-zeroed-{FACTOR}.onnx"
    if not path.exists():
        graph.save(Pruner(net.model, net.feeds(0)).zeroed(FACTOR), path)
    return path


def untrained(rows: Rows, net: Network) -> Row:
    """The row of that file."""
    name = f"{net.name}-zeroed"
    return rows.get(name) or rows.measure(name, net, graph.shrink(graph.load(zeroed(rows, net)))[0], 0.0)


def recovery_table(rows: Rows, net: Network, data: Path, names: list[str], full: Row) -> str:
    """A line per training."""
    found = [(WAYS[name].title, recovered(rows, net, data, name)) for name in names]
    lines = [
        [title, f"{row['accuracy']:.2f}", f"{full['macs'] / row['macs']:.2f}x", f"{row['seconds'] / 60:.0f}"]
        for title, row in [("pruned and repaired", untrained(rows, net)), *found]
    ]
    return table(["ResNet-56, CIFAR-10", "accuracy", "fewer MACs", "minutes of training"], lines)
