"""Every model of onnx's own backend tests: shrink takes it, and what it returns computes the same.

The same models between linear layers with zeros, so that there is something to remove: here a sample of them. All,
three times with other zeros, in two minutes:

    BACKEND_ROUNDS=3 python -m pytest tests/graph/test_backend_models.py
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from backend_models import CannotRun, Case, cases, difference, run, sandwich, tolerance
from onnx import ModelProto

import graph

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
ROUNDS = int(os.environ.get("BACKEND_ROUNDS", "0"))
SAMPLE = 1 if ROUNDS else 6  # every sixth model

#: Where onnx is wrong itself: it infers 16 frequencies for a real signal, which has 9.
INFERRED_WRONG = {"test_stft", "test_stft_with_window"}


@pytest.fixture(scope="module")
def every_case() -> list[Case]:
    return cases(*KINDS)


def judged(model: ModelProto, feeds: dict[str, Any]) -> tuple[str, bool]:
    """What is wrong with the shrunk ``model``, empty if nothing is; and whether it lost parameters."""
    try:
        slim, certificate = graph.shrink(model)
    except graph.ModelError as error:  # not every size that we declare dynamic can be any
        dims = [dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim]
        return "" if any(not dim.HasField("dim_value") for dim in dims) else str(error), False
    except Exception as error:
        return f"{type(error).__name__}: {error}", False
    try:
        expected = [] if slim == model else run(model, feeds)
    except CannotRun:  # for lack of a judge
        return "", False
    try:
        wrong = difference(expected, run(slim, feeds), tolerance(model)) if expected else ""
    except CannotRun as error:
        wrong = f"does not run any more: {error}"
    return wrong, certificate.output.parameters < certificate.input.parameters


@pytest.mark.parametrize("kind", KINDS)
def test_backend_models(every_case: list[Case], kind: str) -> None:
    for case in every_case:
        if case.kind == kind:
            wrong, _ = judged(case.model(), case.feeds(case.model()))
            assert not wrong, case.name


@pytest.mark.parametrize("turn", range(max(ROUNDS, 1)))
def test_backend_models_between_layers(every_case: list[Case], turn: int) -> None:
    tried = lost = 0
    for number, case in list(enumerate(every_case))[::SAMPLE]:
        made = sandwich(case, np.random.default_rng([turn, number])) if case.test.name not in INFERRED_WRONG else None
        if made is not None and is_finite(*made):
            wrong, less = judged(*made)
            assert not wrong, case.name
            tried, lost = tried + 1, lost + less
    assert lost > tried / 5


def is_finite(model: ModelProto, feeds: dict[str, Any]) -> bool:
    """Whether the model can be run here, and gives finite numbers: 0 * inf is not 0."""
    try:
        return all(np.isfinite(found).all() for found in run(model, feeds) if np.asarray(found).dtype.kind == "f")
    except CannotRun:
        return False
