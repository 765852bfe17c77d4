"""Execution providers: which the installed onnxruntime has, what they need, and where every node went."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, TypeAlias

import onnxruntime

from runtime.errors import SessionError, did_you_mean

Nodes: TypeAlias = Mapping[str, Mapping[str, int]]  # provider -> operator -> how many

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

_HINTS = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]', and see that nvidia-smi shows a GPU",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt, and see that nvidia-smi shows a GPU",
}

# onnxruntime computes shapes on the CPU on purpose, even where the device has kernels for these.
SHAPE_OPERATORS = frozenset(
    "Shape Size Gather Slice Concat Squeeze Unsqueeze Reshape Cast Range ConstantOfShape Constant Identity "
    "Add Sub Mul Div Mod Equal Greater Less Not Where Min Max ReduceProd".split()
)


def short_name(provider: str) -> str:
    """What people call a provider: ``cuda`` for CUDAExecutionProvider."""
    return provider.removesuffix("ExecutionProvider").lower()


def provider_chain(name: str) -> tuple[str, ...]:
    """Onnxruntime's name of the provider ``name``, then who takes the operators that it has no kernel for.

    Raises:
        SessionError: onnxruntime knows no such provider.
    """
    known = {short_name(each): each for each in _known()}
    if name not in known:
        raise SessionError(f"unknown provider '{name}'; {did_you_mean(name, known)}valid: {_here()}")
    between = [CUDA] if known[name] == TENSORRT else []
    return tuple(dict.fromkeys([known[name], *between, CPU]))


def prepare(name: str) -> str:
    """Load the libraries that the provider ``name`` needs; what went wrong, if anything did.

    Raises:
        SessionError: this onnxruntime was built without it.
    """
    wanted = provider_chain(name)[0]
    if wanted not in onnxruntime.get_available_providers():
        raise unavailable(name, "this onnxruntime was built without it")
    if device(wanted) != "cuda":
        return ""
    onnxruntime.set_default_logger_severity(4)  # a failing provider is reported once, by us
    said = io.StringIO()
    with redirect_stdout(said):
        onnxruntime.preload_dlls()
    return said.getvalue().partition("\n")[0]


def unavailable(name: str, trouble: str) -> SessionError:
    """The error for a provider that cannot be used, with what to install."""
    because = f" ({trouble})" if trouble else ""
    hint = _HINTS.get(name, f"install an onnxruntime package that has it, or take one of those here: {_here()}")
    return SessionError(f"provider '{name}' cannot be used here{because}: {hint}")


def device(provider: str) -> str:
    """Where a provider keeps its tensors, as onnxruntime calls it."""
    return "cuda" if provider in (CUDA, TENSORRT) else "cpu"


def assigned_nodes(ort: Any) -> Nodes:
    """How many nodes of each operator every provider got; empty where onnxruntime is too old to tell.

    Args:
        ort: a session that was opened with ``session.record_ep_graph_assignment_info``.
    """
    if not hasattr(ort, "get_provider_graph_assignment_info"):
        return {}
    found: dict[str, Counter[str]] = {}
    for part in ort.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return {provider: dict(sorted(counts.items())) for provider, counts in sorted(found.items())}


def fallen_back(nodes: Nodes, provider: str) -> dict[str, int]:
    """The operators that ``provider`` left to the CPU, but for those that compute shapes."""
    if provider == CPU:
        return {}
    return {name: count for name, count in nodes.get(CPU, {}).items() if name not in SHAPE_OPERATORS}


def placement(nodes: Nodes) -> str:
    """Which provider runs how many nodes, in words."""
    counts = {short_name(provider): sum(operators.values()) for provider, operators in nodes.items()}
    return ", ".join(f"{count:,} nodes on {name}" for name, count in counts.items()) or "nodes on unknown providers"


def _known() -> list[str]:
    return list(dict.fromkeys([*onnxruntime.get_available_providers(), *onnxruntime.get_all_providers()]))


def _here() -> str:
    return ", ".join(map(short_name, onnxruntime.get_available_providers()))
