"""ONNX Runtime, opened with options that are known: the only file that knows what they are called."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.errors import SessionError, load_failure, one_line

Array: TypeAlias = NDArray[Any]
Feeds: TypeAlias = Mapping[str, Array]
Dim: TypeAlias = int | str | None  # a size, the name of a dynamic size, or an anonymous dynamic size

VERSION: str = onnxruntime.__version__

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

# What each provider hands the operators it has no kernel for to, in order.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": (_CPU,),
    "cuda": (_CUDA, _CPU),
    "tensorrt": (_TENSORRT, _CUDA, _CPU),
}
_INSTALL = {
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]', and see that nvidia-smi shows a GPU",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt, and see that nvidia-smi shows a GPU",
}
OPTIMISATIONS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {"float": np.float32, "double": np.float64, "bool": np.bool_} | {
    np.dtype(kind).name: kind
    for kind in (
        *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, np.complex64, np.complex128),
    )
}


@dataclass(frozen=True)
class Settings:
    """How a model is run.

    Attributes:
        provider: ``cpu``, ``cuda`` or ``tensorrt``.
        threads: CPU threads within an operator; None lets onnxruntime take one per physical core, pinned.
        optimisation: graph optimisation: ``off``, ``basic``, ``extended`` or ``all``.
    """

    provider: str = "cpu"
    threads: int | None = None
    optimisation: str = "all"

    def __post_init__(self) -> None:
        _known("provider", self.provider, PROVIDERS)
        _known("optimisation", self.optimisation, OPTIMISATIONS)
        if self.threads is not None and self.threads < 1:
            raise SessionError(f"threads = {self.threads}: give at least 1")


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
            SessionError: numpy has none: a sequence, text, bfloat16, ...
        """
        kind = _DTYPES.get(self.type.removeprefix("tensor(").removesuffix(")"))
        if kind is None:
            raise SessionError(f"'{self.name}' is a {self.type}: only tensors of numbers can be used here")
        return np.dtype(kind)


@dataclass(frozen=True)
class Session:
    """An open model.

    Attributes:
        name: what messages call it: its path.
        provider: onnxruntime's name of the provider that it really runs on.
        ort: the ``onnxruntime.InferenceSession``.
    """

    name: str
    provider: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    ort: Any

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            SessionError: the feeds do not fit the inputs, or an operator failed.
        """
        try:
            results = self.ort.run(None, dict(feeds))
        except Exception as error:  # onnxruntime's exceptions share no narrower base
            raise self._failure(error) from error
        return {value.name: result for value, result in zip(self.outputs, results, strict=True)}

    def bound(self, feeds: Feeds) -> Callable[[], None]:
        """One inference with inputs and outputs resident on the device; it returns when it is complete.

        Raises:
            SessionError: the feeds do not fit the inputs, or an operator failed.
        """
        device = "cpu" if self.provider == _CPU else "cuda"
        binding = self.ort.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_ortvalue_input(
                    name, onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
                )
            for output in self.outputs:
                binding.bind_output(output.name, device)  # allocated by the first run, then reused
        except Exception as error:
            raise self._failure(error) from error

        def infer() -> None:
            try:
                binding.synchronize_inputs()
                self.ort.run_with_iobinding(binding)
                binding.synchronize_outputs()
            except Exception as error:
                raise self._failure(error) from error

        return infer

    def _failure(self, error: Exception) -> SessionError:
        return SessionError(f"{self.name} does not run on these inputs: {one_line(str(error))}")


def open_session(model: Path | bytes, settings: Settings | None = None) -> Session:
    """Open an ONNX file, or one in memory.

    Worker threads stop spinning when a run ends, so that an idle session takes no time from another one.

    Raises:
        SessionError: the file is missing, empty, cut short or not ONNX; it is too new for the installed
            onnxruntime; or the provider is not there. Falling back to the CPU in silence is such an error.
    """
    settings = settings or Settings()
    name = "the model" if isinstance(model, bytes) else str(model)
    _check_readable(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well, and said once is enough
    options.intra_op_num_threads = settings.threads or 0
    options.graph_optimization_level = OPTIMISATIONS[settings.optimisation]
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = PROVIDERS[settings.provider]
    trouble = _prepare(settings.provider)
    try:
        ort = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=[each for each in providers if each in onnxruntime.get_available_providers()],
            enable_fallback=0,
        )
    except Exception as error:
        if settings.provider != "cpu" and "libraries" in str(error):
            raise _unavailable(settings.provider, trouble) from error
        raise SessionError(f"cannot open {name}: {load_failure(str(error))}") from error
    if providers[0] not in ort.get_providers():
        raise _unavailable(settings.provider, trouble)
    return Session(name, providers[0], _values(ort.get_inputs()), _values(ort.get_outputs()), ort)


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


def _prepare(provider: str) -> str:
    """Load the libraries that ``provider`` needs; what went wrong, if anything did."""
    if provider == "cpu":
        return ""
    if PROVIDERS[provider][0] not in onnxruntime.get_available_providers():
        raise _unavailable(provider, "this onnxruntime was built without it")
    onnxruntime.set_default_logger_severity(4)  # a failing provider is reported once, by us
    said = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(said):
            onnxruntime.preload_dlls()
    return said.getvalue().partition("\n")[0]


def _unavailable(provider: str, trouble: str) -> SessionError:
    because = f" ({trouble})" if trouble else ""
    return SessionError(f"provider '{provider}' cannot be used here{because}: {_INSTALL[provider]}")


def _values(args: Any) -> tuple[Value, ...]:
    return tuple(Value(arg.name, tuple(arg.shape), arg.type) for arg in args)


def _known(what: str, name: str, valid: Mapping[str, object]) -> None:
    if name not in valid:
        near = difflib.get_close_matches(name, valid, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise SessionError(f"unknown {what} '{name}'; {hint}valid: {', '.join(valid)}")
