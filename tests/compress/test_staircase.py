"""The staircase of a machine: what it says, and how it is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, checker, helper

from compress.bench import staircase as stairs
from compress.bench.staircase import KINDS, TOP, Staircase, Timer, kinds, probe, staircase
from runtime import Settings, open_session, random_feeds

Law = Callable[[int], float]


def line(width: int) -> float:
    """Every channel costs the same."""
    return width / TOP


def steps(block: int, dearer: float = 1.0) -> Law:
    """Channels come in blocks, and widths between two of them are ``dearer`` than the next one."""
    return lambda width: -(-width // block) * block / TOP * (dearer if width % block else 1.0)


def timer(law: Law, calls: list[str] | None = None) -> Timer:
    def time(kind: str, width: int) -> float:
        if calls is not None:
            calls.append(kind)
        return law(width)

    return time


def multiple(law: Law, tmp_path: Path) -> int:
    return staircase(cache=tmp_path / "stairs.json", timer=timer(law)).multiple(["convolution"])


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (line, 1),
        (steps(16), 1),  # a full block costs no less
        (steps(16, 1.3), 16),
        (steps(8, 1.3), 8),
        (steps(32, 1.3), 32),
        (lambda width: width / TOP * (1.01 if width % 8 else 1.0), 1),  # not worth it
    ],
)
def test_the_multiple_is_that_of_the_steps(law: Law, expected: int, tmp_path: Path) -> None:
    assert multiple(law, tmp_path) == expected


def test_the_widest_block_of_all_kinds_wins() -> None:
    times = {kind: {width: line(width) for width in stairs.WIDTHS} for kind in KINDS}
    times["depthwise"] = {width: steps(16, 2.0)(width) for width in stairs.WIDTHS}
    found = Staircase(times)
    assert found.multiple(["matmul", "pointwise"]) == 1
    assert found.multiple(["pointwise", "depthwise"]) == 16
    assert found.multiple([]) == 1


def test_it_is_measured_once_per_machine_and_settings(tmp_path: Path) -> None:
    calls: list[str] = []
    cache = tmp_path / "new" / "stairs.json"
    first = staircase(cache=cache, timer=timer(steps(16), calls))
    count = len(calls)
    assert set(calls) == set(KINDS)
    assert staircase(cache=cache, timer=timer(line, calls)) == first
    assert len(calls) == count
    other = staircase(Settings(threads=1), cache=cache, timer=timer(line, calls))
    assert len(calls) == 2 * count and other != first
    assert staircase(cache=cache, timer=timer(line, calls)) == first
    assert len(json.loads(cache.read_text())["machines"]) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: "not JSON",
        lambda content: "[]",
        lambda content: json.dumps({**content, "schema": 0}),
        lambda content: json.dumps({**content, "machines": {name: {} for name in content["machines"]}}),
        lambda content: json.dumps(
            {**content, "machines": {f"{name} 2": v for name, v in content["machines"].items()}}
        ),
    ],
)
def test_what_cannot_be_used_is_measured_again(spoil: Callable[[dict[str, object]], str], tmp_path: Path) -> None:
    cache = tmp_path / "stairs.json"
    staircase(cache=cache, timer=timer(steps(16, 1.3)))
    cache.write_text(spoil(json.loads(cache.read_text())))
    assert staircase(cache=cache, timer=timer(line)).multiple(KINDS) == 1
    assert staircase(cache=cache, timer=timer(steps(16, 1.3))).multiple(KINDS) == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert staircase(cache=tmp_path / "file" / "stairs.json", timer=timer(steps(16, 1.3))).multiple(KINDS) == 16


def test_a_measurement_in_which_equals_differ_is_not_remembered(tmp_path: Path) -> None:
    cache = tmp_path / "stairs.json"
    staircase(cache=cache, timer=timer(lambda width: 1.2 * line(width)))
    assert not cache.exists()


def test_it_is_remembered_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    staircase(timer=timer(line))
    assert [path.name for path in (tmp_path / "onnx-compress").iterdir()] == ["staircase.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_probes_are_valid_and_made_of_their_kind(kind: str) -> None:
    model = probe(kind, 12)
    checker.check_model(model, full_check=True)
    assert kind in kinds(model)
    session = open_session(model.SerializeToString())
    session.run(random_feeds(session))


def test_the_kinds_of_a_model() -> None:
    def conv(*shape: int, group: int = 1) -> ModelProto:
        model = ModelProto()
        weight = TensorProto(name="w", dims=shape, data_type=TensorProto.FLOAT)
        model.graph.initializer.append(weight)
        model.graph.node.append(helper.make_node("Conv", ["x", "w"], ["y"], group=group))
        return model

    assert kinds(conv(8, 8, 3, 3)) == {"convolution"}
    assert kinds(conv(8, 8, 1, 1)) == {"pointwise"}
    assert kinds(conv(8, 1, 3, 3, group=8)) == {"depthwise"}
    assert kinds(ModelProto()) == set()


def test_a_real_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stairs, "KINDS", ("matmul",))
    monkeypatch.setattr(stairs, "WIDTHS", [32, TOP])
    found = staircase(Settings(threads=1), cache=tmp_path / "stairs.json")
    assert 0.1 < found.times["matmul"][32] < 1
