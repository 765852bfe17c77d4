"""What other commands found out about a model, as parts of a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from compress.errors import UserError
from compress.report import bench_views, page
from compress.report.bench_views import NAMES, SIDES, Blocks, Content

WRITERS = {
    "certificate": "certificate of compress shrink",
    "verification": "result of compress verify --json",
    "bench": "result of compress bench --json",
}
MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Evidence:
    """What other commands found out, as they wrote it; None where nobody asked.

    Attributes:
        certificate: of ``compress shrink``.
        verification: of ``compress verify --json``.
        bench: of ``compress bench --json``.
    """

    certificate: Content | None = None
    verification: Content | None = None
    bench: Content | None = None

    @classmethod
    def read(cls, **paths: Path | None) -> Evidence:
        """From files by name of the attribute.

        Raises:
            UserError: one cannot be read, or is no JSON.
        """
        return cls(**{name: None if path is None else _read(path, WRITERS[name]) for name, path in paths.items()})

    def sections(self) -> dict[str, Blocks]:
        """What can be said from them.

        Raises:
            UserError: one is not what its command writes.
        """
        views = {
            "Size": (sizes, "certificate"),
            "Accuracy and agreement": (quality, "verification"),
            "Latency": (bench_views.latency, "bench"),
            "Throughput": (bench_views.throughput, "bench"),
            "Cold start": (bench_views.cold_starts, "bench"),
            "Memory": (bench_views.memory, "bench"),
            "Where the time goes": (bench_views.profiles, "bench"),
            "Certificate": (certificate, "certificate"),
        }
        found = {}
        for title, (view, name) in views.items():
            content = getattr(self, name)
            try:
                found[title] = [] if content is None else view(content)
            except MALFORMED as error:
                raise UserError(f"the {name} given is no {WRITERS[name]}") from error
        return found


def sizes(content: Content) -> Blocks:
    """Of both models, from a certificate."""
    rows = []
    for name in ("parameters", "macs", "bytes"):
        before, after = (content[side][name] for side in ("input", "output"))
        rows.append(
            [name.replace("macs", "MACs"), f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else "-"]
        )
    return [page.table(["", *NAMES, "left"], rows)]


def quality(content: Content) -> Blocks:
    """Accuracy of both models, and how far their outputs are apart."""
    blocks, accuracy, parity = [], content["accuracy"], content["parity"]
    if accuracy:
        figures = accuracy.get("figures", {"reference": {}, "candidate": {}})
        rows = [
            [side, f"{accuracy[key]:.2f}", *(f"{100 * value:.2f}" for value in figures[key].values())]
            for side, key in SIDES.items()
        ]
        headings = ["", f"{accuracy['metric']}, % of {accuracy['images']:,} images", *figures["reference"]]
        blocks.append(page.table(headings, rows))
        blocks.append(
            page.text(
                f"{accuracy['lost']:,} images lost, {accuracy['gained']:,} gained; "
                f"McNemar's or the sign test of no difference: p = {accuracy['p_value']:.3g}."
            )
        )
    if parity["max_rel"] is not None:
        blocks.append(
            page.text(
                f"Outputs differ by at most {parity['max_rel']:.2g} of the largest on {parity['inputs']:,} inputs."
            )
        )
    return blocks


def certificate(content: Content) -> Blocks:
    """What went, what stayed, and whether it was checked."""
    rows = []
    for name, key in (("removed", "reason"), ("kept_zero", "reason"), ("frozen", "why")):
        channels: dict[str, int] = {}
        for entry in content[name]:
            channels[entry[key]] = channels.get(entry[key], 0) + entry["channels"]
        rows += [[name.replace("_", ", though "), reason, f"{count:,}"] for reason, count in channels.items()]
    blocks = [page.table(["channels", "reason", "number"], rows)]
    check = content["check"]
    if check:
        told = f"differ by at most {check['max_rel']:.2g} of the largest on {check['inputs']:,} inputs"
        blocks.append(page.text(f"Both models were run by {check['provider']} when it was written; outputs {told}."))
    return blocks


def _read(path: Path, what: str) -> Content:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no {what}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no {what}")
    return content
