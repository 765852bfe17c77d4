from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from runtime.nvml import gpu


class NVMLError(Exception):
    pass


class Card:
    """A GPU that takes 3 J per run, as the NVML bindings tell it."""

    NVMLError = NVMLError

    def __init__(self, devices: int = 2, counter: bool = True) -> None:
        self.devices, self.counter, self.runs, self.opened = devices, counter, 0, None

    def run(self) -> None:
        self.runs += 1

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index >= self.devices:
            raise NVMLError
        self.opened = index
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:  # noqa: N802
        self.opened = name
        return name

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=7)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802
        if not self.counter:
            raise NVMLError
        return 3000 * self.runs


@pytest.fixture
def install(monkeypatch):
    def put(card: Card | None) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", card)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return put


def test_memory_and_energy(install):
    card = Card()
    install(card)
    found = gpu()
    assert found.used_bytes() == 7
    assert found.joules_per_run(card.run, window=0.01) == pytest.approx(3)
    card.counter = False
    assert found.joules_per_run(card.run, window=0.0) is None


def test_the_first_visible_device_is_taken(install, monkeypatch):
    card = Card()
    install(card)
    for visible, opened in (("1,0", 1), ("GPU-5f", "GPU-5f")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu() is not None and card.opened == opened


def test_without_bindings_or_device_there_is_nothing(install):
    install(None)
    assert gpu() is None
    install(Card(devices=0))
    assert gpu() is None
