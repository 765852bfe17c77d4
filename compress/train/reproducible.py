"""Which algorithms torch may choose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from compress.errors import UserError


@contextmanager
def algorithms(*, deterministic: bool) -> Iterator[None]:
    """Deterministic algorithms only, or the fastest of cuDNN; afterwards torch chooses as before.

    On a CPU one machine and one number of threads give the same bits either way.

    Raises:
        UserError: an operator has no deterministic algorithm on the device.
    """
    benchmark, before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS insists, before its first call
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if not deterministic or "deterministic" not in str(error):
            raise
        raise UserError(f"--deterministic: {str(error).partition('.')[0]}; leave it out, or take a CPU") from error
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(before)
