"""``compress report``: what came out of a training, or what is in a bundle, on one page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from compress.errors import UserError
from compress.report import page, svg
from compress.report.bench_views import NAMES, Content
from compress.report.views import Evidence
from graph.model.nodes import attributes
from runtime.bundle import MANIFEST, MODEL, open_bundle


def report(path: Path, evidence: Evidence) -> str:
    """A page about a run's folder, or about a bundle, which brings its own evidence.

    Raises:
        UserError: it is neither, or a file in it is damaged.
        SessionError: the bundle is not what its manifest says.
    """
    if not path.is_dir():  # which a machine without torch can tell, too
        raise UserError(f"{path} is neither a folder of compress train nor a bundle of compress package")
    if (path / MANIFEST).is_file():
        if evidence != Evidence():
            raise UserError(f"{path} is a bundle and brings its own evidence: give no other")
        return bundle_page(path)
    from compress.report.runs import run_page  # a checkpoint needs torch

    return run_page(path, evidence)


def bundle_page(folder: Path) -> str:
    """Of a bundle whose files are what its manifest says; errors are those of `report`."""
    manifest = open_bundle(folder).manifest
    files = {name: folder / f"{name}.json" for name in ("certificate", "bench")}
    evidence = Evidence.read(**{name: path if path.name in manifest["files"] else None for name, path in files.items()})
    shrunk, verification = manifest["shrunk"], manifest["verification"]
    found = Evidence(evidence.certificate, verification, evidence.bench).sections()
    if shrunk:
        rows = widths(onnx.load(folder / MODEL, load_external_data=False), shrunk["removed"])
        found["Size"].append(
            page.charts(svg.pairs(rows, "output channels per layer", "layer, from input to output", NAMES))
        )
    subtitle = ", ".join(f"{name} {version}" for name, version in manifest["tools"].items())
    hashes = [[name, f"{entry['bytes']:,}", entry["sha256"]] for name, entry in manifest["files"].items()]
    sections = {
        "": [page.tiles(_headlines(manifest))],
        **found,
        "Files": [
            page.table(["file", "bytes", "SHA-256"], hashes),
            page.details("manifest", json.dumps(manifest, indent=1)),
        ],
    }
    return page.page(manifest["model"], subtitle, sections)


def _headlines(manifest: Content) -> dict[str, str]:
    told, shrunk = {}, manifest["shrunk"]
    if shrunk:
        for name in ("parameters", "macs"):
            told[f"of the {name.replace('macs', 'MACs')} left"] = (
                f"{shrunk['after'][name] / shrunk['before'][name]:.1%}"
            )
    for row in (manifest["latency"] or [])[:1]:
        told["median latency"] = f"{1e3 * row['median']:.3g} ms"
        ratio = row["speedup"]
        if ratio and ratio["high"] is not None:  # otherwise too few rounds have shown anything
            told[f"speedup, {ratio['low']:.2f} to {ratio['high']:.2f}"] = f"{ratio['estimate']:.2f}"
    accuracy = (manifest["verification"] or {}).get("accuracy")
    if accuracy:
        told[f"{accuracy['metric']}, was {accuracy['reference']:.2f}%"] = f"{accuracy['candidate']:.2f}%"
    return told


def widths(model: onnx.ModelProto, removed: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """Output channels of convolutions and matrix products, before and after.

    Args:
        model: after.
        removed: how many went per tensor and axis, written ``name[axis]``.
    """
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    rows: list[tuple[str, float, float]] = []
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type not in ("Conv", "Gemm", "MatMul") or shape is None or len(shape) < 2:
            continue
        axis = 0 if node.op_type == "Conv" or attributes(node).get("transB") else len(shape) - 1
        rows.append(
            (node.name or node.output[0], shape[axis] + removed.get(f"{node.input[1]}[{axis}]", 0), shape[axis])
        )
    return rows
