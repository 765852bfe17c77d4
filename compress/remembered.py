"""What was measured on a machine once, in a file of the user's cache: replaced if it cannot be read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import UserError
from compress.files import write_text
from runtime import Settings, environment


def cache_file(name: str) -> Path:
    """Where that lies: in ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "onnx-compress", name)


def machine(settings: Settings) -> str:
    """What a latency depends on besides the model."""
    here = environment()
    threads = settings.threads or "default"
    parts = (here["cpu"], f"{here['usable_cores']} cores", f"onnxruntime {here['onnxruntime']}")
    return ", ".join(map(str, (*parts, settings.provider, f"{threads} threads")))


def remembered(path: Path, schema: int) -> dict[str, Any]:
    """By machine; nothing if the file is not there, or not what `remember` writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content["machines"]) if content["schema"] == schema else {}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def remember(path: Path, schema: int, machines: Mapping[str, Any]) -> None:
    """Write what is known; not missed if that cannot be done."""
    with contextlib.suppress(UserError):
        write_text(path, json.dumps({"schema": schema, "machines": machines}, indent=1) + "\n")
