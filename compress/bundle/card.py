"""The model card: a manifest in words, with the front matter that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]

USE = """```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
{lines}
```"""


def card(manifest: Manifest) -> str:
    """MODEL_CARD.md for a bundle, from its manifest without hashes of files."""
    return "\n".join([*_front(manifest), "", *_body(manifest)]) + "\n"


def _front(manifest: Manifest) -> Iterator[str]:
    yield "---"
    yield "library_name: onnx"
    if manifest["license"]:
        yield f"license: {json.dumps(manifest['license'])}"
    yield "tags: [onnx, onnxruntime, pruning]"
    if manifest["data"]:
        yield f"datasets: [{json.dumps(manifest['data'])}]"
    yield "---"


def _body(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest['model']}"
    if manifest["author"]:
        yield f"\nBy {manifest['author']}."
    yield "\n## Use\n"
    yield from _ports(manifest)
    yield ""
    yield USE.format(lines="\n".join(_lines(manifest)))
    if manifest["labels"]:
        yield f"\nClasses, in order: {', '.join(manifest['labels'])}."
    yield "\n## Size\n"
    yield from _sizes(manifest)
    if manifest["verification"]:
        yield "\n## Quality\n"
        yield from _quality(manifest["verification"])
    if manifest["latency"]:
        yield "\n## Latency\n"
        yield from _latency(manifest["latency"])
    yield "\n## Check\n"
    yield from _check(manifest)


def _ports(manifest: Manifest) -> Iterator[str]:
    for side, ports in manifest["io_ports"].items():
        for port in ports:
            shape = ", ".join("?" if size is None else str(size) for size in port["shape"])
            yield f"- {side.removesuffix('s')} `{port['name']}`: {port['type']} [{shape}]"


def _lines(manifest: Manifest) -> Iterator[str]:
    inputs = [port["name"] for port in manifest["io_ports"]["inputs"]]
    preprocessing = manifest["preprocessing"]
    if preprocessing and "preprocessing" in manifest["inside"]:
        yield f"# pixels: uint8 [n, ...] in the layout {preprocessing['layout']}"
        yield f"outputs = session.run(None, {{{inputs[0]!r}: pixels}})"
    elif preprocessing:
        shape = "(-1, 1, 1)" if preprocessing["layout"] == "NCHW" else "-1"
        for each in ("mean", "std"):
            yield f"{each} = np.float32({list(preprocessing[each])}).reshape({shape})"
        yield f"# pixels: uint8 [n, ...] in the layout {preprocessing['layout']}"
        yield f"x = (pixels.astype(np.float32) / {1 / preprocessing['scale']:g} - mean) / std"
        yield f"outputs = session.run(None, {{{inputs[0]!r}: x}})"
    else:
        yield f"outputs = session.run(None, {{{', '.join(f'{name!r}: ...' for name in inputs)}}})"


def _sizes(manifest: Manifest) -> Iterator[str]:
    after, shrunk = manifest["size"], manifest["shrunk"]
    if not shrunk:
        yield f"{after['parameters']:,} parameters, {after['macs']:,} MACs, {after['bytes']:,} bytes."
        return
    rows = [
        [name.replace("macs", "MACs"), f"{shrunk['before'][name]:,}", f"{shrunk['after'][name]:,}"]
        for name in ("parameters", "macs", "bytes")
    ]
    yield from _table(["", "before", "after"], rows)
    yield "\nChannels without any effect were removed by `compress shrink`; `certificate.json` lists them with reasons."


def _quality(found: Mapping[str, Any]) -> Iterator[str]:
    accuracy = found["accuracy"]
    if accuracy:
        yield from _table(
            ["", f"{accuracy['metric']} on {accuracy['images']:,} images"],
            [["before", f"{accuracy['reference']:.2f} %"], ["this model", f"{accuracy['candidate']:.2f} %"]],
        )
        yield f"\nMcNemar's or the sign test of no difference: p = {accuracy['p_value']:.3g}.\n"
    parity = found["parity"]
    if parity["max_rel"] is not None:
        yield f"Largest difference of an output on {parity['inputs']:,} inputs: {parity['max_rel']:.2g} of its maximum."


def _latency(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    lines = []
    for row in rows:
        shape: list[int] = next(iter(row["inputs"].values()), [])
        speedup = row["speedup"]
        where = row["environment"]["gpu"] if row["provider"] != "cpu" else row["environment"]["cpu"]
        lines.append(
            [
                f"{row['provider']} ({where or 'unknown'})",
                "x".join(map(str, shape)),
                str(row["threads"] or "all"),
                f"{1e3 * row['median']:.3f} ms" + (f" ({row['stability']})" if row["stability"] != "stable" else ""),
                f"{speedup['estimate']:.2f} ({_bound(speedup['low'])} to {_bound(speedup['high'])})"
                if speedup
                else "-",
            ]
        )
    yield from _table(["provider", "input", "threads", "median", "speedup (95 % interval)"], lines)


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def _check(manifest: Manifest) -> Iterator[str]:
    allowed, golden = manifest["tolerances"], manifest["golden"]
    more = f", and more for {', '.join(f'`{name}`' for name in allowed['outputs'])}" if allowed["outputs"] else ""
    yield "`python -m runtime.check FOLDER` (of onnx-compress; numpy and onnxruntime suffice) compares every file"
    yield f"with its hash in `manifest.json`, and the outputs with those recorded for {golden['inputs']} in"
    yield f"`golden.npz`. Allowed is max|d| <= {allowed['atol']:g} + {allowed['rtol']:g} max|y|{more}."


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |"
