"""Memory and energy of the first visible NVIDIA GPU, where the NVML bindings (nvidia-ml-py) are installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WINDOW = 1.0  # seconds: the energy counter moves every 20 to 100 ms


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        nvml: the module ``pynvml``.
        handle: its name of the device.
    """

    nvml: Any
    handle: Any

    def used_bytes(self) -> int:
        """Memory that is in use on the whole device, by whomever."""
        return int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)

    def joules(self) -> float | None:
        """Energy since the driver was loaded; None for devices without a counter."""
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * 1e-3
        except self.nvml.NVMLError:
            return None

    def joules_per_run(self, run: Callable[[], None], window: float = WINDOW) -> float | None:
        """Mean energy of the whole device per call of ``run``, over at least ``window`` seconds."""
        run()
        before, begin, runs = self.joules(), time.perf_counter(), 0
        while time.perf_counter() - begin < window:
            run()
            runs += 1
        after = self.joules()
        return None if before is None or after is None else (after - before) / runs


def gpu() -> Gpu | None:
    """The GPU that onnxruntime takes; None where there is none, or the bindings are not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    try:
        pynvml.nvmlInit()
        by_number = first.isdecimal()
        find = pynvml.nvmlDeviceGetHandleByIndex if by_number else pynvml.nvmlDeviceGetHandleByUUID
        return Gpu(pynvml, find(int(first) if by_number else first))
    except pynvml.NVMLError:
        return None
