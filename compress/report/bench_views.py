"""What ``compress bench --json`` says, as parts of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.bench.tables import MEMORY, PHASES
from compress.report import page, svg
from runtime.profile import MOVES

Content = Mapping[str, Any]
Blocks = list[str]

NAMES = ("before", "after")
SIDES = {"before": "reference", "after": "candidate"}  # as `compress bench` calls them
FARTHEST = 3  # medians


def latency(content: Content) -> Blocks:
    """Figures and distributions, one picture per measurement."""
    rows, pictures, notes = [], [], []
    results = _results(content, "latency")
    for result in results:
        samples, where = result["samples"], _where(result["settings"])
        told = [_speedup(result["comparison"])] if result["comparison"] else []
        times = {side: np.array(samples[key]) * 1e-6 for side, key in SIDES.items() if samples[key]}
        for side in times:
            summary = result["summary"][SIDES[side]]
            found = [summary["median"], *(summary["percentiles"].get(name) for name in ("p90", "p95", "p99"))]
            cells = ["-" if time is None else f"{1e3 * time:.3f}" for time in found]
            rows.append([f"{side}: {where}", f"{summary['runs']:,}", *cells, summary["stability"]])
            if summary["reason"]:
                told.append(f"{side} is {summary['stability']}: {summary['reason']}")
        if told:
            notes.append(page.text(f"{where}: {'; '.join(told)}."))
        end = _reach(times)
        beyond = ", ".join(f"{(each > end).mean():.1%} {side}" for side, each in times.items())
        picture = svg.histograms(times, "latency, % of samples", "ms", high=end)
        pictures.append(page.figure(picture, f"{where}; beyond the right edge are {beyond}"))
    if not rows:
        return []
    headings = ["ms", "runs", "median", "p90", "p95", "p99", "stability"]
    return [page.table(headings, rows), *notes, page.charts(*pictures), _machine(results[0]["environment"])]


def throughput(content: Content) -> Blocks:
    """Rows per second; latencies of inferences that run side by side would say nothing."""
    rows, notes = [], []
    results = _results(content, "throughput")
    for result in results:
        summary, where = result["summary"], _where(result["settings"])
        rates = dict(zip(("candidate", "reference"), summary["rows_per_second"], strict=False))
        for side, key in ((side, key) for side, key in SIDES.items() if key in rates):
            rows.append([f"{side}: {where}", f"{rates[key]:,.1f}", summary[key]["stability"]])
        if result["comparison"]:
            notes.append(page.text(f"{where}: {_speedup(result['comparison'])}."))
    if not rows:
        return []
    return [page.table(["", "rows per second", "stability"], rows), *notes, _machine(results[0]["environment"])]


def cold_starts(content: Content) -> Blocks:
    """Medians of the phases over fresh processes."""
    rows, notes = [], []
    results = content.get("cold_starts", [])
    for result in results:
        where = _where(result["settings"])
        for side, starts in ((side, result[key]) for side, key in SIDES.items() if result[key]):
            times = [[each[phase] for phase in PHASES] for each in starts]
            cells = [f"{1e3 * each:.1f}" for each in (*np.median(times, axis=0), np.median(np.sum(times, axis=1)))]
            rows.append([f"{side}: {where}", str(len(starts)), *cells])
        if result["comparison"]:
            notes.append(page.text(f"{where}: create and first run, {_speedup(result['comparison'])}."))
    if not rows:
        return []
    headings = ["ms, medians", "starts", *PHASES, "total"]
    return [page.table(headings, rows), *notes, _machine(results[0]["environment"])]


def memory(content: Content) -> Blocks:
    """Of a process that opened the model and ran it once; the model comes before what it is measured against."""
    rows = [
        [side, *("-" if each[key] is None else f"{each[key] / 2**20:.1f}" for key in MEMORY.values())]
        for side, each in zip(NAMES[::-1], content.get("memory", []), strict=False)
    ]
    return [page.table(["MiB", *MEMORY], rows[::-1])] if rows else []


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
        first, *others = found["why"]
        blocks += [page.text(line) for line in (f"{found['provider']}: {first}", *others)]
        blocks.append(page.charts(svg.pairs(rows, "ms per layer", x, NAMES), svg.lines(rates, "GMAC/s per layer", x)))
        kinds: dict[str, list[float]] = {}
        for place, side in enumerate(SIDES.values()):
            for op in (found[side] or {"ops": []})["ops"]:
                kinds.setdefault(op["kind"], [0.0, 0.0])[place] += 1e3 * op["seconds"]
        ordered = sorted(kinds.items(), key=lambda item: -item[1][1])
        blocks.append(
            page.table(
                ["operator", *(f"ms {side}" for side in NAMES)],
                [
                    [f"{name}{' (moves data)' * (name in MOVES)}", *(f"{value:.3f}" for value in values)]
                    for name, values in ordered
                ],
            )
        )
    return blocks


def _results(content: Content, mode: str) -> list[Content]:
    """Those of one mode; cold starts are written elsewhere."""
    results = [] if "cold_starts" in content else content["results"]
    return [each for each in results if each["settings"]["mode"] == mode]


def _where(settings: Content) -> str:
    """What was measured, in words."""
    first, *others = ["x".join(map(str, shape)) or "a number" for shape in settings["inputs"].values()] or ["no input"]
    streams = settings.get("streams")
    parts = [settings["provider"], first + f" and {len(others)} more" * bool(others)]
    return ", ".join([*parts, f"{streams} stream{'s' * (streams > 1)}"] if streams else parts)


def _speedup(comparison: Content) -> str:
    ratio = comparison["ratio"]
    if ratio["high"] is None:
        return f"speedup {ratio['estimate']:.3f}, of too few rounds for an interval"
    interval = f"{ratio['level']:.0%} interval {ratio['low']:.3f} to {ratio['high']:.3f}"
    return f"speedup {ratio['estimate']:.3f}, {interval}: {comparison['verdict']}"


def _reach(times: Mapping[str, np.ndarray]) -> float:
    """Where a picture of latencies ends: a few that are many times as long would squeeze all others."""
    medians, highs = zip(*((np.median(each), np.quantile(each, 0.99)) for each in times.values()), strict=True)
    return float(min(max(highs), FARTHEST * max(medians)))


def _machine(environment: Content) -> str:
    cores, names = environment["usable_cores"], [environment[key] for key in ("gpu", "cpu") if environment[key]]
    where = f"{', '.join(names) or 'an unknown processor'}, {cores} core{'s' * (cores != 1)}"
    return page.faint(f"onnxruntime {environment['onnxruntime']} on {where}")
