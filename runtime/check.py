"""``python -m runtime.check BUNDLE``: is a bundle whole, and does its model give the recorded outputs here?

It needs numpy and onnxruntime, and runs nothing from the bundle but the model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.bundle import GOLDEN, MODEL, Bundle, open_bundle, port_types
from runtime.differences import Tally
from runtime.errors import SessionError
from runtime.golden import read_golden
from runtime.parity import OutputParity, Parity
from runtime.providers import placement
from runtime.session import VERSION, Session, check_free_dims, open_session
from runtime.settings import Settings

FAILED, BAD_INPUT = 1, 2


@dataclass(frozen=True)
class Checked:
    """What came of it.

    Attributes:
        bundle: which is whole.
        parity: of the outputs with the recorded ones.
        session: how the model ran.
    """

    bundle: Bundle
    parity: Parity
    session: Session

    @property
    def beyond(self) -> tuple[OutputParity, ...]:
        """The outputs that differ by more than the manifest allows."""
        return self.parity.beyond(self.bundle.tolerance, self.bundle.special)

    def lines(self) -> Iterator[str]:
        """For people: one line per output with the tolerance in force, and the verdict."""
        bundle = self.bundle
        for output in self.parity.outputs:
            allowed = bundle.special.get(output.name, bundle.tolerance)
            rule = "exact" if output.exact else f"allowed {allowed.atol:g} + {allowed.rtol:g} * {output.largest:.4g}"
            same = f", same argmax {output.argmax_equal} / {output.rows}" if output.rows else ""
            yield f"{output.name}: differs by {output.difference} ({rule}){same}"
        verdict = "does not give" if self.beyond else "gives"
        where = f"{placement(self.session.nodes)}, onnxruntime {VERSION}"
        yield f"{bundle.name} {verdict} the recorded outputs on {self.parity.inputs} inputs ({where})"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bundle": str(self.bundle.folder),
            "model": self.bundle.name,
            "equal": not self.beyond,
            "parity": self.parity.to_dict(),
            "session": self.session.describe(),
        }


def check(folder: Path, settings: Settings | None = None) -> Checked:
    """Hold a bundle against its manifest, then run its model on the golden inputs.

    Raises:
        SessionError: the bundle is not what it says, or its model does not run.
    """
    bundle = open_bundle(folder)
    settings = settings or Settings(tf32=False)
    check_free_dims(folder / MODEL, settings)
    session = open_session(folder / MODEL, settings)
    if {side: port_types(ports) for side, ports in session.ports().items()} != bundle.ports:
        raise SessionError(f"{folder / MODEL} has other inputs and outputs than its manifest says: package it again")
    tally = Tally()
    for feeds, expected in read_golden(folder / GOLDEN):
        found = session.run(feeds)
        if expected.keys() != found.keys():
            raise SessionError(f"{folder / GOLDEN} has other outputs than the model: package it again")
        tally.add(feeds, expected, found)
    return Checked(bundle, tally.parity(session.provider), session)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0 held, 1 other outputs, 2 no whole bundle."""
    parser = argparse.ArgumentParser(prog="python -m runtime.check", description=__doc__)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder written by compress package")
    parser.add_argument("--provider", default="cpu", help="cpu, cuda, tensorrt, or another that onnxruntime has")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write what is printed as JSON, too")
    options = parser.parse_args(arguments)
    try:
        checked = check(options.bundle, Settings(provider=options.provider, tf32=False))
        if options.json is not None:
            options.json.write_text(json.dumps({"schema": 1, **checked.to_dict()}, indent=2, allow_nan=False) + "\n")
    except (SessionError, OSError, MemoryError) as error:
        print(f"check: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    for line in checked.lines():
        print(line)
    return FAILED if checked.beyond else 0


if __name__ == "__main__":
    sys.exit(main())
