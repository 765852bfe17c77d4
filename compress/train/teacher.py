"""Teachers: trained networks that say what a student should answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.models import build
from compress.models.check import check_fits
from compress.tasks import Task
from compress.train import checkpoint
from compress.train.run import CHECKPOINT, load_run
from runtime import Session, SessionError, Settings, open_session, real_feeds

Teacher = Callable[[Tensor], Tensor]
"""From images [n, C, H, W] to logits [n, classes, ...], both on the student's device; nothing in it is trained."""


def load_teacher(path: Path, model: str, task: Task, device: str) -> Teacher:
    """The network in ``path``, in evaluation mode.

    Args:
        path: an ONNX file of one input and any batch size, the folder or checkpoint of a run, or a checkpoint of bare
            weights.
        model: whose weights a bare checkpoint holds.
        task: of the student.
        device: of the student.

    Raises:
        UserError: there is no such network, or it does not turn images of the task into its logits.
    """
    try:
        module = OnnxTeacher(path, device) if path.suffix == ".onnx" else _module(path, model, task)
        module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        check_fits(module, task.spec.shape, *task.outputs)
    except (UserError, SessionError) as error:
        raise UserError(f"--distill {path}: {error}") from error

    @torch.no_grad()
    def teacher(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits.float()

    return teacher


def _module(path: Path, model: str, task: Task) -> nn.Module:
    if "config" in checkpoint.read(path / CHECKPOINT if path.is_dir() else path):
        return load_run(path)[0]
    module = build(model, classes=task.spec.classes, channels=task.spec.shape[0])
    checkpoint.load_weights(module, checkpoint.weights(path), str(path), model)
    return module


class OnnxTeacher(nn.Module):
    """The first output of an ONNX file, by ONNX Runtime; on the GPU of the student where ONNX Runtime can."""

    def __init__(self, path: Path, device: str) -> None:
        super().__init__()
        self.session = _opened(path, torch.device(device))

    def forward(self, images: Tensor) -> Tensor:
        """Answers on the device of the ``images``."""
        parts = []
        for feeds, rows in real_feeds(self.session, [images.contiguous().cpu().numpy()]):
            outputs = self.session.run(feeds)
            parts.append(outputs[self.session.outputs[0].name][:rows])
        return torch.from_numpy(np.concatenate(parts)).to(images.device)


def _opened(path: Path, device: torch.device) -> Session:
    settings = Settings(threads=torch.get_num_threads())
    if device.type == "cuda":
        gpu = torch.cuda.current_device() if device.index is None else device.index
        with suppress(SessionError):  # then the CPU it is
            return open_session(path, replace(settings, provider="cuda", gpu=gpu, fallback=True))
    return open_session(path, settings)
