"""The one exception of this package, and onnxruntime's complaints in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_CAUSES = (
    (
        r"IR version: (\d+), max supported IR version: (\d+)",
        "its IR version {0} is newer than the installed onnxruntime reads (up to {1}): "
        "upgrade onnxruntime, or save the model with IR version {1}",
    ),
    (
        r"Opset (\d+) is under development.*is till opset (\d+)",
        "its opset {0} is newer than the installed onnxruntime supports (up to {1}): "
        "upgrade onnxruntime, or export with opset {1}",
    ),
    (
        r"protobuf parsing failed|No graph was found",
        "it is not an ONNX file, or it is cut short: export or copy it again",
    ),
    (
        r"External data path does not exist: \"([^\"]+)\"",
        "its weights are in another file, which is missing: put {0} back beside the model",
    ),
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        "it uses the operator {0} (opset {1}), which the installed onnxruntime does not have: "
        "upgrade onnxruntime, or export with another opset",
    ),
)


class SessionError(Exception):
    """A model could not be opened, fed or compared. The message is one line: what is wrong and what to do."""


def load_failure(message: str) -> str:
    """Why a model does not load and what to do about it, from onnxruntime's ``message``, in one line."""
    for pattern, cause in _CAUSES:
        if match := re.search(pattern, message, flags=re.DOTALL | re.IGNORECASE):
            return cause.format(*match.groups())
    return f"onnxruntime rejects it: {one_line(message)}"


def one_line(message: str) -> str:
    """An onnxruntime ``message`` without its error code, source location and line breaks."""
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    message = re.sub(r"^Load model from .*? failed:", "", message)
    return " ".join(message.split())


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The name of ``valid`` nearest to ``name``, as a question with a space behind; empty if none is near."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"did you mean '{near[0]}'? " if near else ""
