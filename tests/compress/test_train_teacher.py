"""Training that listens to a teacher."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruption import Interruption
from tiny_net import TinyNet
from torch import Tensor
from typer.testing import CliRunner

import graph
from compress.cli.app import app
from compress.data import Spec
from compress.errors import UserError
from compress.repair import repair
from compress.tasks import Task, task_of
from compress.train import TrainConfig, train
from compress.train.distributed import World
from compress.train.goal import Distilled, Goal, Refined
from compress.train.teacher import OnnxTeacher, load_teacher
from compress.train.trainer import Trainer
from graph.candidates.classes import classes
from graph.export import export
from runtime import Session, SessionError, Settings, open_session

SPEC = Spec("digits", (1, 8, 8), 10, tuple("0123456789"), (0.5,), (0.5,))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few epochs."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    train(config(out, epochs=4, lr=0.1, train_limit=None))
    return out


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "tiny_net:TinyNet", "method": "sgd", "epochs": 2, "train_limit": 200, "lr": 0.02, "out": out}
    return TrainConfig.from_dict({**small, "schedule": "cosine", "device": "cpu", **changes})


def checkpoint(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def refused(config: TrainConfig) -> str:
    with pytest.raises(UserError) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


# ---- losses ---------------------------------------------------------------------------------------------


def task(classes: int = 3) -> Task:
    return task_of(Spec("three", (1, 2, 2), classes, tuple("abc")[:classes], (0.5,), (0.5,)))


def test_the_loss_of_distillation_by_hand() -> None:
    student, taught = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]]), np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    labels = [0, 2]
    p, q = softmax(taught / 4), softmax(student / 4)
    divergence = (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softmax(student)[range(2), labels]).mean()
    goal = Distilled(task(), lambda images: torch.tensor(taught), 0.6, 4.0)
    found = goal.loss(torch.tensor(student), torch.tensor(labels), torch.zeros(2, 1, 2, 2))
    assert found.item() == pytest.approx(0.6 * 16 * divergence + 0.4 * entropy)


def test_the_teacher_sees_what_the_student_sees_and_mixed_labels_are_mixed() -> None:
    images, targets = torch.rand(4, 1, 2, 2), torch.rand(4, 3).softmax(1)
    student = torch.randn(4, 3)
    goal = Distilled(task(), lambda seen: seen.flatten(1)[:, :3], 0.5, 1.0)
    p, q = images.flatten(1)[:, :3].softmax(1), student.softmax(1)
    expected = 0.5 * (p * (p / q).log()).sum(1).mean() - 0.5 * (targets * q.log()).sum(1).mean()
    assert torch.allclose(goal.loss(student, targets, images), expected)


def test_a_step_of_refinement_by_hand() -> None:
    soft, labels = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), torch.tensor([0, 1, 2])
    logits = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 1.0]])
    goal = Refined(task(), torch.tensor(soft), labels, 0.7, World())
    student = torch.tensor(logits, requires_grad=True)
    loss = goal.loss(student, torch.tensor([2, 0]), torch.zeros(2, 1, 2, 2))
    q, p = softmax(logits), softmax(soft[[2, 0]])
    expected = 0.7 * (q * np.log(q / p)).sum(1).mean() - 0.3 * np.log([q[0, 2], q[1, 0]]).mean()
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    goal.after_backward()
    refined = soft.copy()
    refined[[2, 0]] -= 0.7 * (p - q) / 2  # the gradient of the mean over two images
    assert np.allclose(goal.soft.numpy(), refined)


def test_counts_are_those_of_the_labels() -> None:
    goal = Refined(task(), torch.zeros(3, 3), torch.tensor([2, 1, 0]), 0.7, World())
    assert goal.counts(torch.eye(3), torch.tensor([2, 1, 1])).tolist() == [2, 3]  # answers 0, 1, 2 to labels 0, 1, 1


def test_two_processes_refine_as_one() -> None:
    """Each has half of the batch; their gradients are averaged, so each counts twice."""
    logits, soft, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])

    def step(goal: Goal, rows: Tensor, weight: float) -> None:
        (weight * goal.loss(logits[rows].requires_grad_(), rows, torch.zeros(0))).backward()
        goal.after_backward()

    one = Refined(task(), soft.clone(), labels, 0.7, World())
    step(one, torch.arange(4), 1.0)
    refined = soft.clone()
    for rows in torch.arange(4).split(2):
        half = Refined(task(), soft.clone(), labels, 0.7, World(size=2))
        step(half, rows, 2 * 2 / 4)
        refined[rows] = half.soft[rows]
    assert torch.allclose(refined, one.soft, atol=1e-6)


# ---- teachers -------------------------------------------------------------------------------------------


def test_all_forms_of_a_teacher_answer_alike(teacher: Path, tmp_path: Path) -> None:
    weights = checkpoint(teacher)["model"]
    torch.save(weights, tmp_path / "bare.pth")
    module = TinyNet().eval()
    module.load_state_dict(weights)
    graph.save(export(module, torch.zeros(2, 1, 8, 8), name="net"), tmp_path / "net.onnx")
    images = torch.randn(10, 1, 8, 8)
    for path in (teacher, teacher / "checkpoint.pt", *(tmp_path / name for name in ("bare.pth", "net.onnx"))):
        answers = load_teacher(path, "tiny_net:TinyNet", task_of(SPEC), "cpu")(images)
        assert torch.allclose(answers, module(images), atol=1e-5), path
        assert not answers.requires_grad


def test_a_file_of_a_fixed_batch_teaches_any(teacher: Path, tmp_path: Path) -> None:
    module = TinyNet().eval()
    module.load_state_dict(checkpoint(teacher)["model"])
    torch.onnx.export(module, (torch.zeros(4, 1, 8, 8),), tmp_path / "four.onnx", dynamo=True, verbose=False)
    answers = load_teacher(tmp_path / "four.onnx", "", task_of(SPEC), "cpu")
    images = torch.randn(10, 1, 8, 8)
    assert torch.allclose(answers(images), module(images), atol=1e-5)


@pytest.mark.parametrize(("device", "gpu"), [("cuda", 2), ("cuda:1", 1), ("cpu", None)])
def test_a_file_runs_on_the_gpu_of_its_process(
    device: str, gpu: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under torchrun that is torch's current one; where ONNX Runtime has none, the CPU takes over."""
    wanted: list[Settings] = []

    def spied(path: Path, settings: Settings) -> Session:
        wanted.append(settings)
        if settings.provider == "cuda":
            raise SessionError("there is no GPU")
        return open_session(path, settings)

    graph.save(export(TinyNet(), torch.zeros(2, 1, 8, 8), name="net"), tmp_path / "net.onnx")
    monkeypatch.setattr("compress.train.teacher.open_session", spied)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    OnnxTeacher(tmp_path / "net.onnx", device)
    assert [settings.gpu for settings in wanted if settings.provider == "cuda"] == ([] if gpu is None else [gpu])
    assert wanted[-1].provider == "cpu"


def test_teachers_that_do_not_fit_are_one_line(teacher: Path, tmp_path: Path) -> None:
    five = TinyNet(classes=5)
    torch.save(five.state_dict(), tmp_path / "five.pth")
    graph.save(export(five, torch.zeros(2, 1, 8, 8), name="net"), tmp_path / "five.onnx")
    graph.save(export(TinyNet(channels=3), torch.zeros(2, 3, 8, 8), name="net"), tmp_path / "rgb.onnx")
    (tmp_path / "text.onnx").write_text("no")
    for name, expected in (
        ("five.pth", "'linear.weight' is [10, 16] in the model and [5, 16] in the checkpoint"),
        ("five.onnx", "must turn 2 images of 1x8x8 into logits [2, 10], not [2, 5]"),
        ("rgb.onnx", "cannot read images of 1x8x8"),
        ("text.onnx", "cannot open"),
        ("absent", "cannot read checkpoint"),
    ):
        message = refused(config(tmp_path / "run", distill=tmp_path / name))
        assert message.startswith(f"--distill {tmp_path / name}: ")
        assert expected in message
        assert not (tmp_path / "run").exists()


# ---- trainings ------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "distilled": {"mix": "mixup", "accumulate": 2},
    "expanded": {"expand": True, "train_limit": 40, "ema": 0.9},
    "refined": {"refine": True, "expand": True, "train_limit": 40, "batch_size": 100},
}


@pytest.mark.parametrize("way", WAYS)
def test_resumed_is_as_if_never_stopped(way: str, teacher: Path, tmp_path: Path) -> None:
    through, stopped = (config(tmp_path / name, distill=teacher, epochs=3, **WAYS[way]) for name in "ab")
    expected = train(through)
    steps = len(Trainer(config(tmp_path / "c", distill=teacher, **WAYS[way])).batches)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Interruption(after=steps + 1))
    resumed = train(stopped, resume=True)
    a, b = (checkpoint(run.out) for run in (through, stopped))
    assert all(torch.equal(value, b["model"][name]) for name, value in a["model"].items())
    assert all(torch.equal(value, b["goal"][name]) for name, value in a["goal"].items())
    assert ("soft" in a["goal"]) == (way == "refined")
    assert {**vars(resumed), "seconds": 0} == {**vars(expected), "seconds": 0}


def test_zeros_of_a_file_outlive_an_interruption(teacher: Path, tmp_path: Path) -> None:
    dense, zeroed = tmp_path / "dense.onnx", tmp_path / "zeroed.onnx"
    module = TinyNet().eval()
    module.load_state_dict(checkpoint(teacher)["model"])
    graph.save(export(module, torch.zeros(2, 1, 8, 8), name="net"), dense)
    found = classes(graph.analyse(graph.load(dense)))
    gone = found.weakest(found.reduce(np.abs), 9)
    images = np.random.default_rng(0).standard_normal((64, 1, 8, 8)).astype(np.float32)
    graph.save(repair(found, gone, [{"input": images}]).model, zeroed)
    taught = {"init": zeroed, "distill": dense, "mix": "mixup", "epochs": 3}
    through, stopped = (config(tmp_path / name, **taught) for name in "ab")
    train(through)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Interruption(after=len(Trainer(through).batches) + 1))
    train(stopped, resume=True)
    a, b = (checkpoint(run.out)["model"] for run in (through, stopped))
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    zeros = [(a[f"bn{k}.weight"] == 0) & (a[f"bn{k}.bias"] == 0) for k in (1, 2)]
    assert sum(int(each.sum()) for each in zeros) == 9
    assert all((a[f"conv{k}.weight"][each] == 0).all() for k, each in zip((1, 2), zeros, strict=True))


def test_several_passes_refine_as_one(teacher: Path, tmp_path: Path) -> None:
    make = partial(config, tmp_path / "run", model="tiny_net:Plain", distill=teacher, refine=True)
    one, three = (Trainer(make(accumulate=passes)) for passes in (1, 3))
    assert one.train_epoch(lambda n: None) == pytest.approx(three.train_epoch(lambda n: None), rel=1e-5)
    assert torch.allclose(one.goal.state_dict()["soft"], three.goal.state_dict()["soft"], atol=1e-6)


def test_a_student_follows_its_teacher(teacher: Path, tmp_path: Path) -> None:
    """With nothing but the teacher's answers, on all images, it learns what the labels say, too."""
    summary = train(config(tmp_path / "run", distill=teacher, distill_weight=1.0, epochs=6, lr=0.1, train_limit=None))
    assert summary.test_accuracy > 0.2


def test_refined_labels_move_from_the_teacher_to_the_student(teacher: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path / "run", distill=teacher, refine=True, train_limit=64, batch_size=64))
    before = trainer.goal.state_dict()["soft"].clone()
    images = next(trainer._loader(trainer.data.train.subset(np.arange(64)), 64, train=False).epoch())[0]
    assert torch.allclose(before, load_teacher(teacher, "", trainer.task, "cpu")(images), atol=1e-5)
    trainer.train_epoch(lambda n: None)
    assert (trainer.goal.state_dict()["soft"] != before).any(1).all()


def test_bf16_trains_with_a_teacher(teacher: Path, tmp_path: Path) -> None:
    train(config(tmp_path / "run", distill=teacher, precision="bf16", epochs=1))


def test_a_teacher_of_pixels(tmp_path: Path) -> None:
    pixels = {"model": "vessels:net", "data": "vessels:source", "train_limit": 4, "batch_size": 8, "epochs": 1}
    train(config(tmp_path / "teacher", **pixels))
    train(config(tmp_path / "run", distill=tmp_path / "teacher", **pixels))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"refine": True}, "give --distill TEACHER"),
        ({"temperature": 4.0}, "--temperature is of a teacher"),
        ({"refine": True, "distill": Path("t"), "mix": "mixup"}, "leave --mix mixup out"),
        ({"refine": True, "distill": Path("t"), "label_smoothing": 0.1}, "leave --label-smoothing out"),
        ({"expand": True, "data": "vessels:source", "model": "vessels:net"}, "--expand works on images"),
    ],
)
def test_contradictions_are_one_line(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in refused(config(tmp_path / "run", **changes))


# ---- the way of a user ----------------------------------------------------------------------------------


def test_pruned_repaired_recovered_and_removed(teacher: Path, tmp_path: Path) -> None:
    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [*map(str, words)])
        assert done.exit_code == 0, done.output
        return done.output

    dense, zeroed, again = (tmp_path / f"{name}.onnx" for name in ("dense", "zeroed", "again"))
    run("export", teacher, "-o", dense)
    run("prune", dense, "-o", zeroed, "--criterion", "l2", "--keep", 0.5, "--repair", "--data", "digits")
    train = ["train", "--model", "tiny_net:TinyNet", "--method", "sgd", "--distill", dense, "--device", "cpu"]
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["--mix", "mixup", "--epochs", 3, "--lr", 0.02, "--train-limit", 200]
    run(*train, "--init", zeroed, *options, "--out", first)
    options = ["--expand", "--refine", "--distill-weight", 0.6, "--temperature", 2, "--epochs", 1, "--train-limit", 50]
    run(*train, "--init", first, *options, "--lr", 1e-3, "--out", second)
    run("export", second, "-o", again)
    shapes = []
    for path in (zeroed, again):
        run("shrink", path, "-o", path.with_suffix(".slim.onnx"))
        slim = graph.load(path.with_suffix(".slim.onnx"))
        shapes.append({each.name: list(each.dims) for each in slim.graph.initializer if len(each.dims) == 4})
    assert shapes[0] == shapes[1]
    assert sum(dims[0] for dims in shapes[0].values()) == 12  # of 8 and 16
