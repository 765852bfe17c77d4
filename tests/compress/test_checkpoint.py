from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from tiny_net import TinyNet, WideNet
from torch import nn

from compress.errors import UserError
from compress.models import build
from compress.train.checkpoint import load_weights, read, save, weights


def equal(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_common_layouts_load(key: str | None, prefix: str, tmp_path: Path) -> None:
    source, target = TinyNet(), TinyNet()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save({key: state, "best_prec1": 91.7} if key else state, tmp_path / "net.th")
    load_weights(target, weights(tmp_path / "net.th"), "net.th", "tiny")
    assert equal(source, target)


def test_checkpoints_older_than_batch_counters_load() -> None:
    source, target = TinyNet(), TinyNet()
    old = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_weights(target, old, "old.th", "tiny")
    assert equal(source, target)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (WideNet(), ["'conv2.weight'", "[16, 8, 3, 3]", "[24, 8, 3, 3]"]),
        (TinyNet(classes=100), ["'linear.weight'", "[10, 16]", "[100, 16]"]),
        (nn.Linear(2, 2), ["'conv1.weight'", "missing"]),
        (nn.Sequential(), ["'conv1.weight'", "missing"]),
    ],
)
def test_another_architecture_is_one_clear_line(other: nn.Module, expected: list[str]) -> None:
    model = TinyNet()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(model, other.state_dict(), "other.pt", "tiny")
    message = str(caught.value)
    assert "\n" not in message
    for part in ["other.pt", "tiny", *expected]:
        assert part in message
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_surplus_weights_are_named() -> None:
    model = TinyNet()
    with pytest.raises(UserError, match=r"'extra\.weight' is missing in the model and \[3\]"):
        load_weights(model, {**model.state_dict(), "extra.weight": torch.zeros(3)}, "x.pt", "tiny")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", pickle.dumps(Evil(), protocol=2)], ids=["empty", "text", "code"]
)
def test_other_files_are_refused_and_never_run(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pt"):
        read(path)
    assert "executed" not in capsys.readouterr().out


def test_absent_and_foreign_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read checkpoint"):
        read(tmp_path / "absent.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list"):
        read(tmp_path / "list.pt")


def test_save_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save(path, {"epoch": 1})

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save(path, {"epoch": 2})
    monkeypatch.undo()
    assert read(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "file"), [("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")])
def test_public_cifar_checkpoints_fit(name: str, file: str, shared_data: Path) -> None:
    model = build(name, classes=10)
    load_weights(model, weights(shared_data / "checkpoints" / file), file, name)
