"""The PyTorch model of an ONNX file, for criteria that look at gradients."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

import graph
from compress.prune.samples import Samples
from runtime import Settings, open_session

if TYPE_CHECKING:
    from torch import nn

    from compress.tasks import Task


@dataclass(frozen=True)
class Trained:
    """The model as PyTorch has it.

    Attributes:
        module: from images [N, C, H, W] to logits, with its trained weights.
        task: with the loss.
        name: what the user calls it.
    """

    module: nn.Module
    task: Task
    name: str

    def take(self, model: ModelProto) -> None:
        """Give the module the weights, and so the zeros, of a file that is an export of it.

        Raises:
            UserError: the file is none.
        """
        from compress.bridge.importing import load_onnx

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            graph.save(model, path)
            load_onnx(self.module, path, self.task.spec.shape, self.name)


def trained(source: Path, settings: Settings, samples: Samples, init: str, model: str | None) -> Trained | None:
    """The PyTorch model that ``init`` means, and the task of the data set; None where no data set is named.

    Args:
        source: the ONNX file.
        settings: how it is run.
        samples: whose data set has the labels.
        init: a run, a checkpoint or a name.
        model: what a bare checkpoint holds the weights of.

    Raises:
        UserError: there is no such model, or it does not take the images of the data set.
    """
    if samples.data is None:
        return None
    from compress.bridge.exporting import resolve
    from compress.data import load
    from compress.models.check import output_of
    from compress.tasks import task_of

    spec = load(samples.data, samples.folder).spec
    logits = open_session(source, settings).outputs[0].shape
    classes = logits[1] if len(logits) > 1 and isinstance(logits[1], int) else None
    own = model is None and init.startswith("torchvision:")  # trained weights have their own classes
    target = resolve(init, model=model, shape=spec.shape, classes=None if own else classes)
    output_of(target.module, spec.shape)
    return Trained(target.module, task_of(spec), init)
