"""Several processes that train one model, as torchrun starts them: on one machine or on many."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from compress.errors import UserError

PATIENCE = timedelta(minutes=10)  # for a process that is late
NUMBERS, NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("MASTER_ADDR", "MASTER_PORT")


class Told(UserError):  # noqa: N818  it is told already
    """An error that the first process tells, too: the others can be silent."""


@dataclass(frozen=True)
class World:
    """The processes of a training, of which this is number ``rank`` of ``size``; alone without torchrun.

    They hold the same weights and see different images. The first one (rank 0) writes and prints.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """This is the process that writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def first_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The ``state`` of the first process, of tensors and plain values; tensors on the CPU."""
        buffer = io.BytesIO()
        if self.first:
            torch.save(dict(state), buffer)
        box = [buffer.getvalue()]
        dist.broadcast_object_list(box)
        found: dict[str, Any] = torch.load(io.BytesIO(box[0]), map_location="cpu", weights_only=True)
        return found

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait until all processes have done this; where one fails, all do.

        Raises:
            UserError: that of the first process that failed.
        """
        if self.size == 1:
            yield
            return
        mine = None
        try:
            yield
        except UserError as error:
            mine = str(error)
        errors: list[str | None] = [None] * self.size
        dist.all_gather_object(errors, mine)
        for rank, text in enumerate(errors):
            if text is not None:
                raise self.error(text if rank == 0 else f"process {rank}: {text}")

    def error(self, message: str) -> UserError:
        """What to raise where all processes fail alike: the first one tells."""
        return UserError(message) if self.first else Told(message)


def world() -> World:
    """The processes that this one has joined."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the other processes, if torchrun started this one; they are left at the end.

    Args:
        device: "cpu", where the processes talk through gloo; or "cuda", through nccl: then each takes one GPU of its
            machine, which becomes torch's current one; "auto" is CUDA where there is one.

    Raises:
        UserError: the environment is not what torchrun makes, there are fewer GPUs than processes, the processes do
            not find each other, or one is lost on the way.
    """
    if dist.is_initialized() or os.environ.get("WORLD_SIZE", "1") == "1":
        yield world()
        return
    place = _environment()
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if not on_cpu:
        _take_gpu(device, place["LOCAL_RANK"])
    try:
        dist.init_process_group("gloo" if on_cpu else "nccl", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"process {place['RANK']} finds no others at {where}: {_first_line(error)}") from error
    try:
        yield world()
    except RuntimeError as error:
        if "finished reduction" in str(error):
            raise UserError(
                "a parameter of the model has no part in the loss, which several processes cannot train: freeze it, "
                "or train in one process"
            ) from error
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise UserError(f"process {place['RANK']} lost another one, see its message: {_first_line(error)}") from error
    finally:
        dist.destroy_process_group()


def _environment() -> dict[str, int]:
    """The numbers that torchrun gives a process."""
    for name in (*NUMBERS, *NAMES):
        if name not in os.environ:
            raise UserError(f"WORLD_SIZE is set but {name} is not: start with torchrun, or unset WORLD_SIZE")
    try:
        place = {name: int(os.environ[name]) for name in NUMBERS}
        int(os.environ["MASTER_PORT"])
    except ValueError as error:
        names = ", ".join((*NUMBERS, "MASTER_PORT"))
        raise UserError(f"{names} must be numbers ({error}): start with torchrun") from error
    if not 0 <= place["RANK"] < place["WORLD_SIZE"]:
        raise UserError(f"RANK {place['RANK']} must lie below WORLD_SIZE {place['WORLD_SIZE']}: start with torchrun")
    return place


def _take_gpu(device: str, index: int) -> None:
    if device not in ("auto", "cuda"):
        raise UserError(f"under torchrun every process takes a GPU of its own: give --device cuda, not {device}")
    if index >= torch.cuda.device_count():
        raise UserError(f"process {index + 1} of this machine finds only {torch.cuda.device_count()} GPUs")
    torch.cuda.set_device(index)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
