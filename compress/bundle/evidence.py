"""What other commands found out about a model, from the JSON they wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, TypeVar

from compress.errors import UserError

T = TypeVar("T")


def read_certificate(path: Path, sha256: str) -> dict[str, Any]:
    """The figures of a certificate of ``compress shrink``.

    Args:
        path: of the file.
        sha256: of the model that it must be about.

    Raises:
        UserError: it is no certificate, or that of another model.
    """

    def figures(content: dict[str, Any]) -> dict[str, Any]:
        if content["output"]["sha256"] != sha256:
            raise UserError(f"{path} is about another model: give the one that was written with this file")
        channels: dict[str, int] = {}
        for entry in content["removed"]:
            for tensor, indices in zip(entry["tensors"], entry["indices"], strict=True):
                channels[tensor] = channels.get(tensor, 0) + len(indices)
        return {
            "before": content["input"],
            "after": content["output"],
            "removed": channels,
            "check": content["check"],
        }

    return _read(path, "certificate of compress shrink", figures)[1]


def read_bench(path: Path, model: str, sha256: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results of ``compress bench``: all of them, with file names for paths, and one row per latency.

    Args:
        path: of the file.
        model: file name of its candidate.
        sha256: of the same file.

    Raises:
        UserError: it is no such file, or about another model.
    """

    def rows(content: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for result in content["cold_starts"] if "cold_starts" in content else content["results"]:
            settings = result["settings"]
            for side in ("candidate", "reference"):
                settings[side] = settings[side] and PurePath(settings[side]).name
            if settings["candidate"] != model:
                raise UserError(f"{path} is about {settings['candidate']}, not {model}")
            if settings["files"]["candidate"]["sha256"] != sha256:
                raise UserError(f"{path} is about another {model}: measure this one again")
            if settings["mode"] != "latency":
                continue
            comparison, summary = result["comparison"], result["summary"]
            found.append(
                {
                    "provider": settings["provider"],
                    "threads": settings["threads"],
                    "inputs": settings["inputs"],
                    "median": summary["candidate"]["median"],
                    "stability": summary["candidate"]["stability"],
                    "reference_median": summary["reference"] and summary["reference"]["median"],
                    "speedup": comparison and comparison["ratio"],
                    "verdict": comparison and comparison["verdict"],
                    "environment": {name: result["environment"].get(name) for name in ("cpu", "gpu", "onnxruntime")},
                }
            )
        return found

    return _read(path, "result of compress bench --json", rows)


def read_verification(path: Path, sha256: str) -> dict[str, Any]:
    """Agreement and accuracy from ``compress verify``; arguments and errors as of `read_certificate`."""

    def figures(content: dict[str, Any]) -> dict[str, Any]:
        if content["files"]["model"]["sha256"] != sha256:
            raise UserError(f"{path} is about another model: verify this one again")
        return {"equal": content["equal"], "parity": content["parity"], "accuracy": content["accuracy"]}

    return _read(path, "result of compress verify --json", figures)[1]


def _read(path: Path, what: str, extract: Callable[[dict[str, Any]], T]) -> tuple[dict[str, Any], T]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content, extract(content)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no {what}") from error
