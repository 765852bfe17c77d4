"""A model in a process of its own: how long it takes to its first answer, and how much memory it needs.

``python -m runtime.fresh`` is that process. It reads what to do from its standard input and prints what it found, both
as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.environment import peak_bytes, resident_bytes
from runtime.errors import SessionError
from runtime.npz import read_npz
from runtime.nvml import gpu
from runtime.profile import profile
from runtime.providers import device, provider_chain
from runtime.session import Feeds, open_session
from runtime.settings import Settings

LIMIT = 2**34  # bytes of inputs


@dataclass(frozen=True)
class Fresh:
    """What a process told.

    Attributes:
        load: seconds from its start until the libraries were loaded.
        create: seconds to read the model and open a session.
        first: seconds of the first run; inputs are bound before.
        resident_bytes: memory that the process gained from opening the model to the end of the first run.
        peak_bytes: the most that it ever had, libraries included; None, as any of these, where the system is silent.
        device_bytes: what the GPU gained meanwhile, whoever asked for it.
        arena_bytes: the most that onnxruntime's allocator held; None unless asked for.
    """

    load: float
    create: float
    first: float
    resident_bytes: int | None
    peak_bytes: int | None
    device_bytes: int | None
    arena_bytes: int | None = None

    @property
    def total(self) -> float:
        """Seconds from the start of the process to the first answer."""
        return self.load + self.create + self.first


def fresh(model: Path, feeds: Feeds, settings: Settings | None = None, *, arena: bool = False) -> Fresh:
    """Start a process that opens ``model`` and runs it once on ``feeds``.

    The file is read by whoever came before, too, so that it lies in the memory of the operating system.

    Raises:
        SessionError: the model cannot be opened or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs.npz")
        np.savez(inputs, *feeds.values())
        order = {"model": str(model), "arena": arena, "settings": asdict(settings or Settings())}
        order |= {"inputs": str(inputs), "names": list(feeds)}
        begin = time.perf_counter()  # a clock that all processes share
        done = subprocess.run(
            [sys.executable, "-m", "runtime.fresh"],
            input=json.dumps({**order, "begin": begin}),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SessionError(f"{model} does not run in a process of its own: {last or f'status {done.returncode}'}")
    return Fresh(**json.loads(done.stdout))


def _start(order: Mapping[str, Any]) -> Fresh:
    loaded = time.perf_counter()
    model, settings = Path(order["model"]), Settings(**order["settings"])
    arrays = read_npz(Path(order["inputs"]).read_bytes(), order["inputs"], LIMIT)
    feeds = dict(zip(order["names"], arrays.values(), strict=True))
    card = gpu() if device(provider_chain(settings.provider)[0]) != "cpu" else None
    memory, used = resident_bytes(), 0 if card is None else card.used_bytes()
    begin = time.perf_counter()
    session = open_session(model, settings)
    created = time.perf_counter()
    run = session.bound(feeds)
    bound = time.perf_counter()
    run()
    done = time.perf_counter()
    after = resident_bytes()
    return Fresh(
        load=loaded - order["begin"],
        create=created - begin,
        first=done - bound,
        resident_bytes=None if memory is None or after is None else after - memory,
        peak_bytes=peak_bytes(),
        device_bytes=None if card is None else card.used_bytes() - used,
        arena_bytes=profile(model, feeds, settings, seconds=0.0).arena_bytes if order["arena"] else None,
    )


def main() -> int:
    """The process; its exit status is 0 if it ran the model."""
    try:
        print(json.dumps(asdict(_start(json.load(sys.stdin)))))
    except (SessionError, OSError, MemoryError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
