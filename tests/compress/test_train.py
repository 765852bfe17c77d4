from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import Interruption
from rich.console import Console
from torch import nn

from compress.data import DATA, Data, Source
from compress.data.digits import digits
from compress.errors import UserError
from compress.files import write_text
from compress.methods import METHODS
from compress.progress import Lines, Silent, Terminal
from compress.train import Summary, TrainConfig, load_run, train, train_path
from compress.train.schedule import learning_rate
from compress.train.trainer import Trainer


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(**changes: Any) -> TrainConfig:
        small = {"model": "tiny_net:TinyNet", "epochs": 4, "train_limit": 256, "out": tmp_path / "run"}
        return TrainConfig.from_dict({**small, "device": "cpu", **changes})

    return make


def checkpoint(config: TrainConfig) -> dict[str, Any]:
    return torch.load(config.out / "checkpoint.pt", weights_only=True)


def log(config: TrainConfig) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_weights(a: TrainConfig, b: TrainConfig) -> None:
    ours, theirs = checkpoint(a)["model"], checkpoint(b)["model"]
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def refused(config: TrainConfig, *, resume: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        train(config, resume=resume)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- targets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.3, 0.5, 0.7])
def test_auto_strength_reaches_the_target_and_heals(target: float, config: Callable[..., TrainConfig]) -> None:
    run = config(model="resnet20", target=target, epochs=6, train_limit=None)
    summary = train(run)
    channels = sum(total for _, total in summary.widths.values())
    assert summary.zeros == round(target * channels) / channels
    assert summary.reached_by == "prox"
    assert all(alive >= math.ceil(0.05 * total) for alive, total in summary.widths.values())
    assert [line["zeros"] == summary.zeros for line in log(run)[3:]] == [True] * 3
    assert summary.validation_accuracy == summary.accuracy_before_zeroing > 0.5


def test_network_slimming_cuts_and_fine_tuning_keeps_the_cut(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    cut = train(config(method="network-slimming", target=0.5))
    assert (cut.zeros, cut.reached_by, cut.target) == (0.5, "threshold", 0.5)
    tuned = train(config(method="sgd", init=tmp_path / "run", lr=0.02, out=tmp_path / "tuned"))
    assert tuned.widths == cut.widths
    assert tuned.validation_accuracy >= cut.validation_accuracy


def test_a_path_goes_from_dense_to_sparse_and_can_be_interrupted(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    strengths = [0.5, 8.0, 30.0]
    through, stopped = (config(epochs=2, out=tmp_path / name) for name in ("a", "b"))
    expected = train_path(through, strengths)
    zeros = [summary.zeros for summary in expected]
    assert zeros == sorted(zeros) and zeros[0] < zeros[-1]
    written = json.loads((tmp_path / "a" / "path.json").read_text())
    assert [entry["strength"] for entry in written["path"]] == strengths
    assert [entry["test_accuracy"] for entry in written["path"]] == [summary.test_accuracy for summary in expected]
    with pytest.raises(KeyboardInterrupt):
        train_path(stopped, strengths, progress=Interruption(after=14))
    resumed = train_path(stopped, strengths, resume=True)
    assert [{**vars(s), "seconds": 0} for s in resumed] == [{**vars(s), "seconds": 0} for s in expected]


@pytest.mark.parametrize("strengths", [[], [0.0, 1.0], [1.0, 0.5], [1.0, 1.0]])
def test_a_path_that_does_not_grow_is_refused(strengths: list[float], config: Callable[..., TrainConfig]) -> None:
    with pytest.raises(UserError, match="growing strengths"):
        train_path(config(), strengths)


def test_mixing_trains_and_resumes_to_the_same_weights(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    through, stopped = (config(mix="both", out=tmp_path / name) for name in ("a", "b"))
    train(through)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Interruption(after=14))
    train(stopped, resume=True)
    assert_same_weights(through, stopped)


# ---- a run's folder -------------------------------------------------------------------------------------


def test_a_run_leaves_its_four_files_and_can_be_loaded(config: Callable[..., TrainConfig]) -> None:
    run = config(epochs=2)
    summary = train(run)
    assert sorted(p.name for p in run.out.iterdir()) == [
        "checkpoint.pt",
        "config.toml",
        "metrics.jsonl",
        "summary.json",
    ]
    assert TrainConfig.from_toml(run.out / "config.toml") == run
    assert [line["epoch"] for line in log(run)] == [1, 2]
    assert {"lr", "strength", "loss", "train", "validation", "zeros"} <= log(run)[0].keys()
    written = json.loads((run.out / "summary.json").read_text())
    assert written["schema"] == 1
    assert written["test_accuracy"] == summary.test_accuracy
    model, loaded, shape = load_run(run.out)
    assert loaded == run
    assert not model.training
    assert shape == (1, 8, 8)
    trainer = Trainer(run)
    trainer.model = model
    assert trainer.score(trainer.data.test) == summary.test_accuracy


def test_the_written_configuration_says_the_shape_of_the_penalty(config: Callable[..., TrainConfig]) -> None:
    run = config(epochs=1, penalty="mcp")
    train(run)
    assert TrainConfig.from_toml(run.out / "config.toml").penalty == "mcp:edge=1.0"
    train(config(epochs=1, penalty="mcp:edge=1"), resume=True)
    assert "penalty was 'mcp:edge=1.0'" in refused(config(epochs=1, penalty="mcp:edge=2"), resume=True)


def test_same_seed_same_weights_and_another_seed_others(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    runs = [config(epochs=1, seed=seed, out=tmp_path / f"{i}") for i, seed in enumerate((0, 0, 1))]
    for run in runs:
        train(run)
    assert_same_weights(runs[0], runs[1])
    with pytest.raises(AssertionError):
        assert_same_weights(runs[0], runs[2])


def test_the_test_set_is_read_once_and_last(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, events = digits(), []

    def test() -> Any:
        events.append("test")
        return source.test()

    @dataclass
    class Watch(Silent):
        seen: list[str] = field(default_factory=list)

        def update(self, n: int = 0, **figures: float) -> None:
            events.extend(["epoch"] if figures else [])

    spied = Source(source.spec, train=source.train, test=test)
    monkeypatch.setitem(DATA._entries, "spied", lambda folder: spied)
    train(config(data="spied", epochs=2), progress=Watch())
    assert events == ["epoch", "epoch", "test"]


# ---- interruption ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("steps", [2, 6, 9], ids=["first-epoch", "second-epoch", "third-epoch"])
def test_resumed_is_as_if_never_stopped(
    method: str, steps: int, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    through, stopped = config(method=method, out=tmp_path / "a"), config(method=method, out=tmp_path / "b")
    expected = train(through)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Interruption(after=steps))
    torch.manual_seed(99)
    resumed = train(stopped, resume=True)
    assert_same_weights(through, stopped)
    assert log(through) == log(stopped)
    assert {**vars(resumed), "seconds": 0} == {**vars(expected), "seconds": 0}


def test_lines_beyond_the_checkpoint_are_dropped(config: Callable[..., TrainConfig]) -> None:
    run = config()
    with pytest.raises(KeyboardInterrupt):
        train(run, progress=Interruption(after=6))
    path = run.out / "metrics.jsonl"
    write_text(path, path.read_text() + '{"epoch": 2, "loss": 9.0}\n')
    train(run, resume=True)
    assert [line["epoch"] for line in log(run)] == [1, 2, 3, 4]
    assert log(run)[1]["loss"] != 9.0


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(config: Callable[..., TrainConfig]) -> None:
    run = config()
    with pytest.raises(KeyboardInterrupt):
        train(run, progress=Interruption(after=6))
    state = checkpoint(run)
    del state["config"]["floor"]
    torch.save(state, run.out / "checkpoint.pt")
    train(run, resume=True)
    assert [line["epoch"] for line in log(run)] == [1, 2, 3, 4]


def test_resuming_a_finished_run_trains_nothing_and_repeats_its_summary(
    config: Callable[..., TrainConfig],
) -> None:
    run = config(epochs=1)
    summary = train(run)
    (run.out / "summary.json").unlink()
    assert train(run, resume=True, progress=Interruption(after=0)) == summary
    assert (run.out / "summary.json").exists()


def test_a_full_disk_is_a_user_error_and_the_run_goes_on_later(
    config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, through = config(), config(out=tmp_path / "through")
    train(through)
    write, count = Path.write_bytes, 0

    def full(self: Path, data: bytes) -> int:
        nonlocal count
        count += "checkpoint" in self.name
        if count > 2:
            write(self, data[:100])
            raise OSError(28, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as context:
        context.setattr(Path, "write_bytes", full)
        assert "No space left on device" in refused(run)
    assert checkpoint(run)["epoch"] == 1
    train(run, resume=True)
    assert_same_weights(run, through)


# ---- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "network-sliming"}, "did you mean 'network-slimming'?"),
        ({"penalty": "scat"}, "did you mean 'scad'?"),
        ({"penalty": "lp:p=2"}, "p must lie between 0 and 1"),
        ({"penalty": "mcp:edge=0.001", "strength": 5.0}, "the strength must stay below 0.11"),
        ({"penalty": "l0", "method": "network-slimming"}, "no slope"),
        ({"model": "densenet4"}, "did you mean 'densenet40'?"),
        ({"data": "digit"}, "did you mean 'digits'?"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"init": "absent.pt"}, "cannot read checkpoint absent.pt"),
        ({"lr": 1e30}, "try a lower --lr"),
    ],
)
def test_mistakes_are_one_clear_line(
    changes: dict[str, Any], expected: str, config: Callable[..., TrainConfig]
) -> None:
    assert expected in refused(config(**changes))


def test_a_checkpoint_of_another_architecture_is_named(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    train(config(epochs=1))
    message = refused(config(model="tiny_net:WideNet", init=tmp_path / "run", out=tmp_path / "other"))
    assert "'conv2.weight' is [24, 8, 3, 3] in the model and [16, 8, 3, 3] in the checkpoint" in message


def test_a_single_step_is_a_training(config: Callable[..., TrainConfig]) -> None:
    assert train(config(epochs=1, train_limit=2)).zeros == 0.5


def test_a_data_set_without_held_out_images(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATA._entries, "bare", lambda folder: Data(digits(), validation=0))
    monkeypatch.setattr("compress.data.load", lambda name, folder: DATA.get(name)(folder))
    assert "too small" in refused(config(data="bare"))


def test_an_unwritable_folder(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(config(out=tmp_path / "file" / "run"))


def test_a_run_is_neither_overwritten_nor_mixed(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    assert "nothing to resume" in refused(config(), resume=True)
    train(config(epochs=1))
    assert "--resume" in refused(config(epochs=1))
    assert "lr was 0.1 and is now 0.2" in refused(config(epochs=1, lr=0.2), resume=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("{")
    assert "metrics.jsonl" in refused(config(epochs=1), resume=True)


def test_weights_alone_are_no_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match="no run"):
        load_run(tmp_path / "weights.pt")


# ---- parts ----------------------------------------------------------------------------------------------


def test_bf16_trains_with_scales_in_full_precision(config: Callable[..., TrainConfig]) -> None:
    run = config(precision="bf16", epochs=2)
    assert math.isfinite(train(run).test_accuracy)
    state = checkpoint(run)
    assert {v.dtype for v in state["model"].values() if v.is_floating_point()} == {torch.float32}
    assert state["method"]["xi"].dtype == torch.float32


@pytest.mark.parametrize("steps", [4, 100, 1000])
def test_schedules(steps: int) -> None:
    rates = {
        kind: [learning_rate(s, steps, 0.1, kind) for s in range(steps)] for kind in ("step", "cosine", "constant")
    }
    assert set(rates["constant"]) == {0.1}
    for kind in ("step", "cosine"):
        assert rates[kind][0] == 0.1
        assert min(rates[kind]) > 0
        assert rates[kind] == sorted(rates[kind], reverse=True)
    assert [rates["step"][int(steps * f)] for f in (0.25, 0.5, 0.75)] == pytest.approx([0.1, 0.01, 0.001])
    assert rates["cosine"][steps // 2] == pytest.approx(0.05)


def test_progress_is_a_line_per_epoch_or_a_bar() -> None:
    plain, terminal = io.StringIO(), io.StringIO()
    for progress in (Lines(plain), Terminal(Console(file=terminal, force_terminal=True, width=100))):
        progress.start(4)
        progress.update(2)
        progress.update(0, epoch=1, loss=0.25)
        progress.update(2)
        progress.update(0, epoch=2, loss=0.125)
        progress.stop()
    assert plain.getvalue().splitlines() == ["2/4  epoch 1  loss 0.25", "4/4  epoch 2  loss 0.125"]
    assert "epoch 2  loss 0.125" in terminal.getvalue()


def test_summary_is_of_the_last_epoch_never_the_best(config: Callable[..., TrainConfig]) -> None:
    run = config(method="sgd")
    summary: Summary = train(run)
    assert summary.validation_accuracy == log(run)[-1]["validation"]
    assert summary.train_accuracy == log(run)[-1]["train"]
