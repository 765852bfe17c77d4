from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import UserError
from compress.train import TrainConfig


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "values",
    [
        {"model": "resnet20", "out": "run"},
        {"model": "vgg19", "out": "a b/run", "data": "cifar10", "data_dir": "/data", "strength": 0.0045},
        {
            "model": "m:f",
            "out": "r",
            "init": "x.pt",
            "schedule": "cosine",
            "nesterov": True,
            "train_limit": 9,
        },
    ],
)
def test_toml_round_trip(values: dict[str, object], tmp_path: Path) -> None:
    config = TrainConfig.from_dict(values)
    assert TrainConfig.from_toml(write(tmp_path, config.to_toml())) == config


def test_defaults_are_the_papers() -> None:
    config = TrainConfig(model="vgg19", out=Path("run"))
    assert (config.batch_size, config.lr, config.momentum, config.weight_decay) == (64, 0.1, 0.9, 1e-4)
    assert (config.epochs, config.beta, config.nesterov) == (160, 100.0, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('model = "m"\nout = "r"\nepoch = 3', ["'epoch'", "did you mean 'epochs'?", "run.toml"]),
        ('model = "m"\nout = "r"\nlearning_rate = 3', ["'learning_rate'", "valid:", "lr"]),
        ('model = "m"\nout = "r"\nepochs = 0', ["epochs = 0", "greater than or equal to 1", "run.toml"]),
        ('model = "m"\nout = "r"\nstrength = "strong"', ["strength = 'strong'"]),
        ('model = "m"\nout = "r"\ntarget = 1.0', ["target = 1.0", "less than 1"]),
        ('model = "m"\nout = "r"\nschedule = "cosin"', ["schedule = 'cosin'", "'cosine'"]),
        ('out = "r"', ["lacks 'model'"]),
        ("model = ", ["not valid TOML"]),
    ],
)
def test_mistakes_are_one_clear_line(text: str, expected: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        TrainConfig.from_toml(write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        TrainConfig.from_toml(tmp_path / "absent.toml")
