"""Where to train."""

from __future__ import annotations

import torch

from compress.errors import UserError


def pick_device(name: str) -> str:
    """The device called ``name``; "auto" is CUDA where there is one, and otherwise the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot train on device '{name}': {reason}; try --device auto") from error
    return name
