"""Golden inputs and outputs, and how far other machines may be from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from compress.errors import UserError
from runtime import Settings, Tolerance, open_session
from runtime.differences import Tally
from runtime.golden import Case
from runtime.session import Array, Feeds

CASES = 8
PLAIN = Settings(threads=1, optimisation="off")  # the graph as it is written, and the same sums every time
OTHERS = (*(Settings(threads=1, optimisation=level) for level in ("basic", "extended", "all")), Settings(threads=2))
MARGIN = 10  # other processors round otherwise than the settings of one, if not by much


@dataclass(frozen=True)
class Allowed:
    """What outputs may differ by.

    Attributes:
        tolerance: of all outputs.
        special: of those for which that is too narrow.
        measured: per setting tried here, the largest differences.
    """

    tolerance: Tolerance
    special: Mapping[str, Tolerance]
    measured: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """For the manifest, with the reason."""
        return {
            **asdict(self.tolerance),
            "outputs": {name: asdict(each) for name, each in self.special.items()},
            "rule": "max|d| <= atol + rtol max|y|, both maxima over all inputs; integers and text are equal",
            "why": "float noise of another order of summation, of which onnxruntime's settings show the amount here; "
            f"outputs that showed more than a tenth of it are allowed {MARGIN} times what they showed",
            "measured": list(self.measured),
        }


def record(run: Callable[[Feeds], dict[str, Array]], feeds: Iterable[Feeds]) -> list[Case]:
    """The first few of ``feeds``, and what ``run`` makes of each."""
    return [(dict(feed), run(feed)) for feed in islice(feeds, CASES)]


def measure(model: Path, cases: Sequence[Case], noise: Tolerance) -> Allowed:
    """Run ``model`` under several settings, and allow ``noise``, or more where they differ by more.

    Raises:
        SessionError: the model does not run.
        UserError: integers, text or infinities differ between settings, or other numbers by as much as they are large,
            so that no tolerance can be given.
    """
    measured: list[dict[str, Any]] = []
    special: dict[str, Tolerance] = {}
    for settings in OTHERS:
        session, tally = open_session(model, settings), Tally()
        for feeds, expected in cases:
            tally.add(feeds, expected, session.run(feeds))
        outputs = tally.parity(session.provider).outputs
        measured.append(
            {
                "optimisation": settings.optimisation,
                "threads": settings.threads,
                "outputs": {each.name: {"max_abs": each.max_abs, "max_rel": each.max_rel} for each in outputs},
            }
        )
        for each in outputs:
            wider = Tolerance(noise.rtol, MARGIN * each.max_abs)
            narrow = wider.atol > noise.atol + noise.rtol * each.largest
            hopeless = each.exact or not math.isfinite(each.max_rel) or (narrow and wider.atol > each.largest)
            if each.mismatches and hopeless:
                raise UserError(
                    f"'{each.name}' of {session.name} depends on onnxruntime's settings (optimisation "
                    f"{settings.optimisation}: {each.difference}), so that nobody can check it: use other inputs"
                )
            if narrow:
                special[each.name] = max(wider, special.get(each.name, wider))
    return Allowed(noise, special, measured)
