"""Results as Markdown."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from tests.benchmarks.rivals.judge import NOISE
from tests.benchmarks.rivals.report import error, setting, table
from tests.benchmarks.zoo.micro_nets import MICRO
from tests.benchmarks.zoo.one import Row
from tests.benchmarks.zoo.torchvision_nets import CLASSIFICATION, DETECTION, FLOW, SEGMENTATION, VIDEO

GROUPS = {
    "Classification": CLASSIFICATION,
    "Segmentation": SEGMENTATION,
    "Detection: backbone, pyramid and dense heads": DETECTION,
    "Video": VIDEO,
    "Optical flow": FLOW,
    "Small networks, one for each way of coupling channels": list(MICRO),
}
HEAD = ["network", "parameters", "removable", "removed", "error", "seconds", "status"]


def status(row: Row) -> str:
    """``ok``, or what is wrong."""
    if "failed" in row:
        return f"fails: {row['failed']}".replace("|", "/")
    if not row["error"] <= NOISE:
        return "output changed"
    return f"{row['stay']} of {row['zeroed']} stay" if row["stay"] else "ok"


def line(name: str, row: Row) -> list[str]:
    """One line of the table."""
    if "failed" in row:
        return [name, "", "", "", "", "", status(row)]
    removed = 1 - row["left"] / row["parameters"]
    return [
        name,
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['removable']:.1%}",
        f"{removed:.1%}",
        error(row["error"]),
        f"{row['seconds']:.1f}",
        status(row),
    ]


def text(rows: Mapping[str, Row]) -> str:
    """Everything that was measured."""
    fine = sum(status(row) == "ok" for row in rows.values())
    parts = [f"{datetime.date.today()}, {setting()}. {fine} of {len(rows)} networks are ok.\n"]
    for title, names in GROUPS.items():
        lines = [line(name, rows[name]) for name in names if name in rows]
        if lines:
            parts.append(f"\n### {title}\n\n{table(HEAD, lines)}")
    return "".join(parts)
