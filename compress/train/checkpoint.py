"""Checkpoints: written whole or not at all, read from any of the common layouts."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.files import write_bytes


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state``, which holds tensors and plain values.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    buffer = io.BytesIO()  # torch.save into a file reports a full disk as a RuntimeError without a reason
    torch.save(dict(state), buffer)
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any]:
    """What `save` wrote, or any other dictionary that torch.save wrote; tensors on the CPU.

    Only tensors and plain values are read, never code.

    Raises:
        UserError: there is no such file, or it is no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read checkpoint {path}: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is not a checkpoint: give a file that torch.save wrote, of tensors and plain values only"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, not a dictionary of weights")
    return state


def weights(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, or in that of a run's folder, by parameter name.

    They may be the file itself or its entry "model" or "state_dict", and their names may start with
    "module.", as `nn.DataParallel` writes them.
    """
    state = read(path / "checkpoint.pt" if path.is_dir() else path)
    for key in ("model", "state_dict"):
        if isinstance(state.get(key), dict):
            state = state[key]
    return {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(model: nn.Module, found: Mapping[str, Tensor], source: str, model_name: str) -> None:
    """Load ``found`` into ``model``, all of it or nothing.

    Raises:
        UserError: a name or a shape differs; the first one is named with both shapes.
    """
    expected = model.state_dict()
    for name in [*expected, *found]:
        if name.endswith("num_batches_tracked"):  # checkpoints older than torch 0.4.1 lack it
            continue
        ours, theirs = (_shape(table.get(name)) for table in (expected, found))
        if ours != theirs:
            raise UserError(
                f"checkpoint {source} does not fit model {model_name}: '{name}' is {ours} in the model and "
                f"{theirs} in the checkpoint; give the --model and the number of classes it was trained with"
            )
    model.load_state_dict(dict(found), strict=False)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
