"""What other commands found out about a model, as parts of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from compress import page, svg
from compress.errors import UserError

Content = Mapping[str, Any]
Blocks = list[str]

NAMES = ("before", "after")
SIDES = {"before": "reference", "after": "candidate"}  # as `compress bench` calls them
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
            "Latency": (latency, "bench"),
            "Where the time goes": (profiles, "bench"),
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
                f"{accuracy['lost']:,} images lost, {accuracy['gained']:,} gained; that both are equally good has "
                f"p = {accuracy['p_value']:.3g} (McNemar's or the sign test)."
            )
        )
    if parity["max_rel"] is not None:
        blocks.append(
            page.text(
                f"Outputs differ by at most {parity['max_rel']:.2g} of the largest on {parity['inputs']:,} inputs."
            )
        )
    return blocks


def latency(content: Content) -> Blocks:
    """Figures and distributions, one picture per measurement."""
    rows, pictures, notes = [], [], []
    for result in content.get("results", []):
        settings, samples, comparison = result["settings"], result["samples"], result["comparison"]
        shapes = ", ".join("x".join(map(str, shape)) for shape in settings["inputs"].values())
        each = samples.get("inferences", 1)
        where = f"{settings['provider']}, {shapes}" + (
            f", {settings['streams']} streams" if settings.get("streams") else ""
        )
        sides = {side: key for side, key in SIDES.items() if samples[key]}
        for side, key in sides.items():
            summary = result["summary"][key]
            times = [summary["percentiles"].get(name) for name in ("p50", "p90", "p95", "p99")]
            cells = ["-" if time is None else f"{1e3 * time / each:.3f}" for time in times]
            rows.append([f"{side}: {where}", f"{summary['runs']:,}", *cells, summary["stability"]])
            if summary.get("reason"):
                notes.append(page.text(f"{side} ({where}) is {summary['stability']}: {summary['reason']}."))
        named = {side: np.array(samples[key]) * 1e-6 / each for side, key in sides.items()}
        if comparison:
            ratio = comparison["ratio"]
            high = "?" if ratio["high"] is None else f"{ratio['high']:.3f}"
            told = f"{ratio['estimate']:.3f}, {ratio['level']:.0%} interval {ratio['low']:.3f} to {high}"
            notes.append(page.text(f"{where}: speedup {told}."))
        x = f"ms ({where}), up to the 99th percentile"
        pictures.append(svg.histograms(named, "latency, % of samples", x, reach=0.99))
    if not rows:
        return []
    first = content["results"][0]["environment"]
    machine = (
        f"onnxruntime {first['onnxruntime']} on {first['gpu'] or ''} {first['cpu']}, {first['usable_cores']} cores"
    )
    headings = ["ms", "runs", "p50", "p90", "p95", "p99", "stability"]
    return [page.table(headings, rows), *notes, page.charts(*pictures), f'<p class="faint">{escape(machine)}</p>']


def profiles(content: Content) -> Blocks:
    """Time per layer and per kind of operator, and what that means."""
    blocks = []
    for found in content.get("profiles", []):
        rows = [
            (layer["name"], *(1e3 * layer[side]["seconds"] if layer[side] else 0.0 for side in NAMES))
            for layer in found["layers"]
        ]
        rates = {
            side: [
                (place, layer[side]["macs"] / layer[side]["seconds"] * 1e-9)
                for place, layer in enumerate(found["layers"])
                if layer[side] and layer[side]["seconds"]
            ]
            for side in NAMES
        }
        rates["peak"] = [(place, found["roof"]["macs_per_second"] * 1e-9) for place in (0, len(rows))]
        x = "layer, from input to output"
        blocks.append(page.charts(svg.pairs(rows, "ms per layer", x, NAMES), svg.lines(rates, "GMAC/s per layer", x)))
        kinds: dict[str, list[float]] = {}
        for place, side in enumerate(SIDES.values()):
            for op in (found[side] or {"ops": []})["ops"]:
                kinds.setdefault(op["kind"], [0.0, 0.0])[place] += 1e3 * op["seconds"]
        ordered = sorted(kinds.items(), key=lambda item: -item[1][1])
        blocks.append(
            page.table(
                ["operator", *(f"ms {side}" for side in NAMES)],
                [[name, *(f"{value:.3f}" for value in values)] for name, values in ordered],
            )
        )
        blocks += [page.text(line) for line in found["why"]]
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
