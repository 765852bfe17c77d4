"""Where to train."""

from __future__ import annotations

import re

import torch

from compress.errors import UserError


def pick_device(name: str) -> str:
    """The device called ``name``: "cpu", "cuda" or "cuda:N"; "auto" is CUDA where there is one, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"unknown device '{name}'; valid: auto, cpu, cuda")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot train on device '{name}': {reason}; try --device auto") from error
    return name
