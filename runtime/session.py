"""ONNX Runtime, opened with options that are known: the only file that knows what they are called."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.errors import SessionError, load_failure, one_line
from runtime.providers import (
    CPU,
    CUDA,
    TENSORRT,
    Nodes,
    assigned_nodes,
    device,
    fallen_back,
    prepare,
    provider_chain,
    unavailable,
)
from runtime.settings import Settings

Array: TypeAlias = NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
Dim: TypeAlias = int | str | None  # a size, the name of a dynamic size, or an anonymous dynamic size

VERSION: str = onnxruntime.__version__

_UNCAPTURED = -1  # of a run that neither records nor replays a CUDA graph
_graphs = itertools.count(1)

_LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {"float": np.float32, "double": np.float64, "bool": np.bool_, "string": np.str_} | {
    np.dtype(kind).name: kind
    for kind in (
        *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, np.complex64, np.complex128),
    )
}


@dataclass(frozen=True)
class Value:
    """An input or output of a model: its name, shape and onnxruntime's name of its type."""

    name: str
    shape: tuple[Dim, ...]
    type: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type.

        Raises:
            SessionError: numpy has none: a sequence, bfloat16, ...
        """
        kind = _DTYPES.get(self.type.removeprefix("tensor(").removesuffix(")"))
        if kind is None:
            raise SessionError(f"'{self.name}' is a {self.type}: only tensors of numbers or text can be used here")
        return np.dtype(kind)

    def __str__(self) -> str:
        return f"{self.type.removeprefix('tensor(').removesuffix(')')}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Session:
    """An open model.

    Attributes:
        name: what messages call it: its path.
        settings: how it was opened.
        provider: onnxruntime's name of the provider that it really runs on.
        nodes: how many nodes of each operator every provider runs; empty where onnxruntime is too old to tell.
        ort: the ``onnxruntime.InferenceSession``.
    """

    name: str
    settings: Settings
    provider: str
    nodes: Nodes
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    ort: Any

    def describe(self) -> dict[str, Any]:
        """How it runs, for JSON: the settings, and the provider of every node."""
        return {
            **asdict(self.settings),
            "onnxruntime": VERSION,
            "onnxruntime_provider": self.provider,
            "nodes": self.nodes,
        }

    def ports(self) -> dict[str, list[dict[str, Any]]]:
        """Inputs and outputs, for JSON; a dynamic size is its name, or None if it has none."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return {
            side: [{"name": value.name, "type": value.type, "shape": list(value.shape)} for value in values]
            for side, values in sides.items()
        }

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            SessionError: the feeds do not fit the inputs, or an operator failed.
        """
        try:
            results = self.ort.run(None, dict(feeds), self._options(_UNCAPTURED))
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            raise self._failure(error) from error
        return {value.name: _text(result) for value, result in zip(self.outputs, results, strict=True)}

    def bound(self, feeds: Feeds) -> Callable[[], None]:
        """One inference with inputs and outputs resident on the device; it returns when it is complete.

        Raises:
            SessionError: the feeds do not fit the inputs, or an operator failed.
        """
        place, options = (device(self.provider), self.settings.gpu), self._options(next(_graphs))
        binding = self.ort.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_ortvalue_input(
                    name, onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), *place)
                )
            for output in self.outputs:
                binding.bind_output(output.name, *place)  # allocated by the first run, then reused
        except Exception as error:
            raise self._failure(error) from error

        def infer() -> None:
            try:
                binding.synchronize_inputs()
                self.ort.run_with_iobinding(binding, options)
                binding.synchronize_outputs()
            except Exception as error:
                raise self._failure(error) from error

        return infer

    def _options(self, graph: int) -> Any:
        """Options of runs that share the CUDA graph of this number: it is bound to the place of their tensors."""
        if not self.settings.cuda_graph:
            return None
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph))
        return options

    def _failure(self, error: Exception) -> SessionError:
        return SessionError(f"{self.name} does not run on these inputs: {one_line(str(error))}")


def open_session(model: Path | bytes, settings: Settings | None = None, *, trace: Path | None = None) -> Session:
    """Open an ONNX file, or one in memory.

    Worker threads stop spinning when a run ends, so that an idle session takes no time from another one.

    Args:
        model: the file, or its content.
        settings: how it is run.
        trace: what the name of onnxruntime's profile begins with, if it shall write one; that slows runs down.

    Raises:
        SessionError: the file is missing, empty, cut short or not ONNX; it is too new for the installed
            onnxruntime; or the provider is not there. Falling back to the CPU in silence is such an error.
    """
    settings = settings or Settings()
    name = "the model" if isinstance(model, bytes) else str(model)
    _check_readable(model)
    wanted, trouble = provider_chain(settings.provider)[0], prepare(settings.provider)
    try:
        ort = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            _session_options(settings, trace),
            providers=_providers(settings),
            enable_fallback=0,
        )
    except Exception as error:
        if wanted != CPU and "libraries" in str(error):
            raise unavailable(settings.provider, trouble) from error
        raise SessionError(f"cannot open {name}: {load_failure(str(error))}") from error
    if wanted not in ort.get_providers():
        raise unavailable(settings.provider, trouble)
    nodes = assigned_nodes(ort)
    if (left := fallen_back(nodes, wanted)) and not settings.fallback:
        operators = ", ".join(f"{count} {operator}" for operator, count in left.items())
        raise SessionError(
            f"provider '{settings.provider}' leaves nodes of {name} to the CPU ({operators}): "
            "take another provider, or allow it with the setting fallback=on"
        )
    return Session(name, settings, wanted, nodes, _values(ort.get_inputs()), _values(ort.get_outputs()), ort)


def check_free_dims(model: Path | bytes, settings: Settings) -> None:
    """Refuse sizes that the model does not have, of which onnxruntime says nothing; it is opened once more for that.

    Raises:
        SessionError: as `open_session`, or the settings fix such a size.
    """
    if not settings.free_dims:
        return
    session = open_session(model, replace(settings, free_dims={}, optimisation="off"))
    names = dict.fromkeys(dim for value in session.inputs for dim in value.shape if isinstance(dim, str))
    if unknown := settings.free_dims.keys() - names:
        there = ", ".join(names) or "none"
        raise SessionError(f"{session.name} has no dynamic size '{min(unknown)}'; it has: {there}")


def _session_options(settings: Settings, trace: Path | None) -> Any:
    options = onnxruntime.SessionOptions()
    if trace is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(trace)
    options.log_severity_level = 4  # what fails is raised as well, and said once is enough
    options.intra_op_num_threads = settings.threads or 0
    options.graph_optimization_level = _LEVELS[settings.optimisation]
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", _flag(settings.spinning))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if settings.affinity is not None:
        options.add_session_config_entry("session.intra_op_thread_affinities", settings.affinity)
    for name, size in settings.free_dims.items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def _providers(settings: Settings) -> list[tuple[str, dict[str, str]]]:
    gpu = {"device_id": str(settings.gpu)}
    cuda = gpu | {
        "use_tf32": _flag(settings.tf32),
        "cudnn_conv_algo_search": settings.cudnn_search.upper(),
        "enable_cuda_graph": _flag(settings.cuda_graph),
    }
    here = onnxruntime.get_available_providers()
    options = {CUDA: cuda, TENSORRT: gpu}
    return [(each, options.get(each, {})) for each in provider_chain(settings.provider) if each in here]


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _check_readable(model: Path | bytes) -> None:
    """What onnxruntime would call a protobuf error."""
    if isinstance(model, bytes):
        if not model:
            raise SessionError("cannot open the model: it is empty")
        return
    try:
        with model.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SessionError(f"cannot open {model}: {error.strerror}; check the path") from error
    if empty:
        raise SessionError(f"cannot open {model}: the file is empty; export or copy it again")


def _text(result: Any) -> Any:
    """Text as numpy's own type for it, not as Python objects, which no file may hold."""
    return result.astype(np.str_) if isinstance(result, np.ndarray) and result.dtype == object else result


def _values(args: Any) -> tuple[Value, ...]:
    return tuple(Value(arg.name, tuple(arg.shape), arg.type) for arg in args)
