"""The page about a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import UserError
from compress.report import page, svg
from compress.report.views import Evidence
from compress.train.run import CHECKPOINT, METRICS, Summary, read_run

CURVES = {  # title: {name of the line: figure of an epoch}
    "{metric}": {"train": "train", "validation": "validation"},
    "loss on training images": {"loss": "loss"},
    "share of channels that are zero": {"zeros": "zeros"},
    "strength of the penalty": {"strength": "strength"},
    "learning rate": {"lr": "lr"},
}


def run_page(folder: Path, evidence: Evidence) -> str:
    """Of a run's folder, finished or not.

    Raises:
        UserError: it holds no run, or its log is damaged.
    """
    if not (folder / CHECKPOINT).is_file():
        raise UserError(f"{folder} is neither a folder of compress train nor a bundle of compress package")
    state = read_run(folder)
    config, metrics = state["config"], _metrics(folder / METRICS)
    summary = Summary(**state["summary"]) if "summary" in state else None
    scales = {
        name.removesuffix(".weight"): value.numpy()
        for name, value in state["model"].items()
        if _is_scale(name, state["model"])
    }
    kept = (
        summary.widths if summary else {name: (int(np.count_nonzero(each)), each.size) for name, each in scales.items()}
    )
    told = evidence.sections()
    sections = {
        "": [page.tiles(_headlines(summary, metrics))],
        "Training": [page.charts(*_curves(metrics, state.get("metric", "accuracy")))] if metrics else [],
        "Channels": [
            page.charts(
                svg.pairs(
                    [(name, total, alive) for name, (alive, total) in kept.items()],
                    "channels per layer",
                    "layer, from input to output",
                    ("all", "alive"),
                ),
                *_scale_histogram(scales),
            )
        ]
        if kept
        else [],
        **told,
        "Settings": [page.details("config.toml", "\n".join(f"{name} = {value!r}" for name, value in config.items()))],
    }
    subtitle = f"{config['method']} on {config['data']}, {state['epoch']} of {config['epochs']} epochs"
    return page.page(config["model"], subtitle, sections)


def _headlines(summary: Summary | None, metrics: Sequence[dict[str, Any]]) -> dict[str, str]:
    if summary is None:
        return {name: f"{metrics[-1][name]:.2%}" for name in ("validation", "zeros") if metrics}
    figures = summary.figures or {summary.metric: summary.test_accuracy}
    return {
        **{f"test {name}": f"{value:.2%}" for name, value in figures.items()},
        f"validation {summary.metric}": f"{summary.validation_accuracy:.2%}",
        "before the final zeros": f"{summary.accuracy_before_zeroing:.2%}",
        "of the channels zero": f"{summary.zeros:.1%}",
    }


def _curves(metrics: Sequence[dict[str, Any]], metric: str) -> list[str]:
    pictures = []
    for title, names in CURVES.items():
        series = {
            label: [(line["epoch"], line[name]) for line in metrics if isinstance(line.get(name), (int, float))]
            for label, name in names.items()
        }
        if any(series.values()):
            pictures.append(svg.lines(series, title.format(metric=metric), "epoch", zero="metric" not in title))
    return pictures


def _scale_histogram(scales: dict[str, np.ndarray]) -> list[str]:
    values = np.abs(np.concatenate([each.ravel() for each in scales.values()])) if scales else np.zeros(0)
    alive = values[values > 0]
    if not alive.size:
        return []
    picture = svg.histograms({"": alive}, "scales of BatchNorm, % of the channels alive", "|gamma|")
    return [page.figure(picture, f"{alive.size:,} channels are alive; {values.size - alive.size:,} more are zero")]


def _is_scale(name: str, weights: dict[str, Any]) -> bool:
    """BatchNorm layers are the ones with running statistics."""
    return name.endswith(".weight") and name.removesuffix("weight") + "running_var" in weights


def _metrics(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({error})") from error
