"""Gates of one before all that a PyTorch module reads: their gradients say what scaling a channel does to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from compress.errors import UserError
from compress.progress import Progress
from compress.prune.calibration import Calibration
from compress.prune.trained import Trained
from runtime import Session

READERS = {F.conv1d: 1, F.conv2d: 1, F.conv3d: 1, F.linear: -1}  # with the axis of the channels that they sum over
TOLERANCE = 1e-2  # of the largest answer, between PyTorch and ONNX Runtime

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """One layer.

    Attributes:
        mean: of the channels that it reads, over samples and places.
        square: mean square.
        changes: derivative of each sample's loss by the scale of each channel [samples, channels].
    """

    mean: Vector
    square: Vector
    changes: Vector


def gates(
    trained: Trained, model: Session, data: Calibration, labels: NDArray[np.int64], progress: Progress
) -> list[Gate]:
    """Every layer's, in the order in which they run; those are left out in which samples have no rows of their own.

    Raises:
        UserError: the module does not answer as the ``model`` does.
    """
    module = trained.module.eval().requires_grad_(False)
    answer = next(iter(data.answers))
    found: list[list[Gate]] = []
    progress.start(len(data))
    try:
        for feeds, at in data:
            images, count = torch.from_numpy(next(iter(feeds.values()))), at.stop - at.start
            gated = _Gated(len(images))
            with gated:
                logits = module(images)[:count]
            _check_same(logits.detach().numpy(), model.run(feeds)[answer][:count])
            (count * trained.task.loss(logits, torch.from_numpy(labels[at]))).backward()
            found.append(gated.gates(count))
            progress.update(count)
    finally:
        progress.stop()
    shares = [count / len(data) for count in data.rows]
    return [_merged(parts, shares) for parts in zip(*found, strict=True)]


class _Gated(TorchFunctionMode):
    """Multiplies what layers read with a gate per row and channel, which is one.

    Args:
        samples: of a batch; a tensor has one row per sample, or several.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.found: list[tuple[Tensor, Tensor]] = []  # what is read, channels last, and its gates [rows, channels]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in READERS and args and len(args[0]) % self.samples == 0:
            data, *rest = args
            last = data.movedim(READERS[func], -1)
            gate = torch.ones(len(data), last.shape[-1], requires_grad=True)
            self.found.append((last.detach(), gate))
            gated = last * gate.reshape(len(data), *[1] * (data.ndim - 2), -1)
            args = gated.movedim(-1, READERS[func]), *rest
        return func(*args, **(kwargs or {}))

    def gates(self, count: int) -> list[Gate]:
        """After the gradients are known, those of the first ``count`` samples."""
        found = []
        for data, gate in self.found:
            values = data.flatten(0, -2).double()
            slopes = torch.zeros_like(gate) if gate.grad is None else gate.grad
            changes = slopes.double().reshape(self.samples, -1, slopes.shape[1]).sum(1)[:count]
            found.append(Gate(values.mean(0).numpy(), values.square().mean(0).numpy(), changes.numpy()))
        return found


def _check_same(logits: NDArray[np.float32], answers: NDArray[Any]) -> None:
    """Raises an error unless the module says what the model says."""
    scale = float(np.abs(answers).max())
    apart = float(np.abs(logits - answers).max()) if logits.shape == answers.shape else np.inf
    if not apart <= TOLERANCE * scale:
        raise UserError(
            f"the PyTorch model and the ONNX file do not belong together: their answers are {apart:.2g} apart, the "
            f"largest is {scale:.2g}"
        )


def _merged(parts: Sequence[Gate], shares: Sequence[float]) -> Gate:
    """Of all batches, each of which is a share of the samples."""
    mean = np.average([part.mean for part in parts], axis=0, weights=shares)
    square = np.average([part.square for part in parts], axis=0, weights=shares)
    return Gate(mean, square, np.concatenate([part.changes for part in parts]))
