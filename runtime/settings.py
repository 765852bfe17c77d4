"""How a model is run: everything that changes speed or rounding, so that it can be written down."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from runtime.errors import SessionError, did_you_mean
from runtime.providers import provider_chain

OPTIMISATIONS = ("off", "basic", "extended", "all")
CUDNN_SEARCHES = ("exhaustive", "heuristic", "default")


@dataclass(frozen=True)
class Settings:
    """How a model is run. The defaults are onnxruntime's own.

    Attributes:
        provider: ``cpu``, ``cuda``, ``tensorrt`` or any other that the installed onnxruntime has.
        threads: CPU threads within an operator; None lets onnxruntime take one per physical core, pinned.
        affinity: processors of the second and further threads, counted from 1: ``2;3``, or ``2,3;4-6``.
        spinning: threads wait for work in a busy loop; off saves the processor for others and costs latency.
        optimisation: graph optimisation: ``off``, ``basic``, ``extended`` or ``all``.
        free_dims: sizes of dynamic axes by name, fixed before the model is optimised.
        tf32: CUDA may round the factors of float32 products to 10 bits.
        cudnn_search: how cuDNN picks an algorithm: ``exhaustive``, ``heuristic`` or ``default``.
        cuda_graph: `Session.bound` records its kernels once and replays them; for ``cuda`` only.
        fallback: the CPU may run what the provider has no kernel for; otherwise that is an error.
        gpu: the number of the GPU that ``cuda`` and ``tensorrt`` run on.
    """

    provider: str = "cpu"
    threads: int | None = None
    affinity: str | None = None
    spinning: bool = True
    optimisation: str = "all"
    free_dims: Mapping[str, int] = field(default_factory=dict)
    tf32: bool = True
    cudnn_search: str = "exhaustive"
    cuda_graph: bool = False
    fallback: bool = False
    gpu: int = 0

    def __post_init__(self) -> None:
        provider_chain(self.provider)
        _check("optimisation", self.optimisation, OPTIMISATIONS)
        _check("cudnn_search", self.cudnn_search, CUDNN_SEARCHES)
        if self.threads is not None and self.threads < 1:
            raise SessionError(f"threads = {self.threads}: give at least 1")
        if self.cuda_graph and self.provider != "cuda":
            raise SessionError(f"cuda_graph needs the provider cuda, not {self.provider}")
        if self.gpu and self.provider not in ("cuda", "tensorrt"):
            raise SessionError(f"gpu = {self.gpu} needs the provider cuda or tensorrt, not {self.provider}")
        for name, size in self.free_dims.items():
            if size < 1:
                raise SessionError(f"free_dims: {name} = {size}: give at least 1")
        if self.affinity is not None:
            self._check_affinity(self.affinity)

    def _check_affinity(self, affinity: str) -> None:
        group = r"([1-9]\d*)([,-][1-9]\d*)*"
        others = (self.threads or 1) - 1
        if not re.fullmatch(rf"{group}(;{group})*", affinity) or affinity.count(";") + 1 != others:
            raise SessionError(
                f"affinity = '{affinity}': give the processors of each thread but the first, counted from 1, such "
                f"as '2;3' for threads = 3; threads is {self.threads or 'not set'}"
            )
        here = os.cpu_count() or 1
        if any(int(number) > here for number in re.findall(r"\d+", affinity)):
            raise SessionError(f"affinity = '{affinity}': this machine has the processors 1 to {here}")


def _check(what: str, name: str, valid: Collection[str]) -> None:
    if name not in valid:
        raise SessionError(f"unknown {what} '{name}'; {did_you_mean(name, valid)}valid: {', '.join(valid)}")
