"""Budgets of latency: a table of layers that is interpolated, and whole models that are measured until both agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mask_nets import NETS
from onnx import ModelProto

import graph
from compress.bench.widths import Form, form_of
from compress.errors import UserError
from compress.progress import Silent
from compress.prune.latency import QUICK, SURE, LatencyForecast, fastest
from compress.prune.layers import LatencyTable
from compress.prune.selection import Selection
from graph.candidates.classes import Classes, classes
from graph.values import Mask
from runtime import Plan, Settings

ONE = Settings(threads=1)
DENSE = Form("Conv", (("pads", (1, 1, 1, 1)),), (1, 64, 8, 8), (64, 64, 3, 3))
DEPTHWISE = Form("Conv", (("pads", (1, 1, 1, 1)),), (1, 64, 8, 8), (64, 1, 3, 3))
PRODUCT = Form("MatMul", (), (3, 64), (64, 64))


def work(form: Form) -> float:
    """As if latency were the number of weights."""
    return float(np.prod(form.weight))


def table(folder: Path, calls: list[Form] | None = None, law=work) -> LatencyTable:
    def timer(form: Form) -> float:
        if calls is not None:
            calls.append(form)
        return law(form)

    return LatencyTable(ONE, folder / "layers.json", timer)


@pytest.mark.parametrize("form", [DENSE, DEPTHWISE, PRODUCT])
def test_widths_are_interpolated(form: Form, tmp_path: Path) -> None:
    """In whole blocks where kernels have these, else exactly: the law is linear in both widths."""
    calls: list[Form] = []
    found = table(tmp_path, calls)
    widths = [1, 3, 15, 16, 17, 33, 48, 63, 64, 65, 127, 130, 255, 256, 301, 1000, 1001]
    forms = [form.at(one, one if form.depthwise else two) for one in widths for two in widths]
    found.measure(forms, Silent())
    for each in forms:
        rounded = each.at(-(-each.inputs // 16) * 16, -(-each.width // 16) * 16)
        if each.inputs % 4 or max(each.inputs, each.width) < 16:
            assert found.seconds(each) == pytest.approx(work(each))
        elif min(each.inputs, each.width) >= 16:
            assert found.seconds(each) == pytest.approx(work(rounded))
    assert len(calls) == len(set(calls))


def test_layers_are_measured_once_per_machine(tmp_path: Path) -> None:
    calls: list[Form] = []
    for _ in range(2):
        found = table(tmp_path, calls)
        found.measure([DENSE, DENSE, PRODUCT], Silent())
        assert found.seconds(DENSE) == work(DENSE)
    assert calls == [DENSE, PRODUCT]
    (tmp_path / "layers.json").write_text('{"schema": 1, "machines": []}')
    table(tmp_path, calls).measure([DENSE], Silent())
    assert calls[2:] == [DENSE]


def test_a_real_measurement(tmp_path: Path) -> None:
    found = LatencyTable(ONE, tmp_path / "layers.json")
    wide = DENSE.at(256, 256)
    found.measure([DENSE, wide], Silent())
    assert 0 < found.seconds(DENSE) < found.seconds(wide) < 1


def offered(tmp_path: Path, net: str) -> tuple[Classes, Path]:
    path = tmp_path / "net.onnx"
    onnx.save(NETS[net](), path)
    return classes(graph.analyse(graph.load(path))), path


def forms(model: ModelProto) -> list[Form]:
    program = graph.analyse(model).program
    found = [form_of(program, node) for node in program.nodes]
    return sorted((form for form in found if form), key=str)


@pytest.mark.parametrize("net", ["residual", "depthwise", "concat", "squeeze-excite", "tokens"])
def test_the_forecast_knows_the_layers_that_shrink_leaves(net: str, tmp_path: Path) -> None:
    found, path = offered(tmp_path, net)
    forecast = LatencyForecast(found, path, ONE, None, table(tmp_path))
    gone = found.weakest(np.random.default_rng(0).random(len(found)), len(found) // 2)
    slim, _ = graph.shrink(found.zeroed(gone))
    layers = sorted((form.inputs, form.width) for form in forecast.without(gone))
    assert layers == sorted((form.inputs, form.width) for form in forms(slim))


class Machine(LatencyForecast):
    """Latency is not what the table says: whole models have other costs, and short measurements are noisy."""

    def real(self, gone: Mask) -> float:
        left, whole = (sum(map(work, self.without(each))) for each in (gone, np.zeros_like(gone)))
        return 0.2 + 0.8 * (left / whole) ** 1.3

    def measured(self, gone: Mask, plan: Plan) -> float:
        self.runs = [*getattr(self, "runs", []), plan]
        return self.real(gone) * (1.01 if plan is QUICK else 1)


@pytest.mark.parametrize("fraction", [0.85, 0.6, 0.45])
def test_a_budget_is_met_with_few_measurements(fraction: float, tmp_path: Path) -> None:
    found, path = offered(tmp_path, "residual")
    machine = Machine(found, path, ONE, None, table(tmp_path))
    scores = np.random.default_rng(0).random(len(found))
    selections = [Selection(found, scores, 0.05, align) for align in (1, 4)]
    gone, latency = fastest(selections, machine, fraction, Silent())
    possible = [machine.real(selections[0].weakest(count)) for count in range(selections[0].most)]
    assert latency == machine.real(gone)
    assert abs(latency - fraction) <= 0.03 * fraction + min(abs(each - fraction) for each in possible)
    assert SURE in machine.runs and len(machine.runs) <= 6


def test_what_floors_keep_is_told(tmp_path: Path) -> None:
    found, path = offered(tmp_path, "residual")
    machine = Machine(found, path, ONE, None, table(tmp_path))
    selection = Selection(found, np.arange(len(found), dtype=float), 0.5)
    least = machine.real(selection.weakest(selection.most))
    with pytest.raises(UserError, match=f"25.0% of the latency cannot be reached: {1.01 * least:.1%} are left"):
        fastest([selection], machine, 0.25, Silent())


@pytest.mark.parametrize("net", ["residual", "depthwise", "tokens"])
def test_what_classes_cost(net: str, tmp_path: Path) -> None:
    """Where a class has more weights, it costs more; every one costs something."""
    found, path = offered(tmp_path, net)
    costs = LatencyForecast(found, path, ONE, None, table(tmp_path)).costs(Silent())
    assert costs.shape == (len(found),) and (costs > 0).all()
    for number in np.unique(found.family):
        assert np.ptp(costs[found.family == number]) <= 1e-9 * costs.max()
