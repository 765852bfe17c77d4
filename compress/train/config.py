"""What a training is: one frozen object, read from and written to TOML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import UserError
from compress.files import read_toml
from compress.registry import unknown
from compress.train.mixing import Mix
from compress.train.schedule import Schedule


class TrainConfig(BaseModel):
    """All settings of a training; ``beta`` to ``schedule`` default to those of the papers.

    ``batch_size`` is the number of images per step, in all passes and processes together.

    Attributes:
        model: a name of the zoo, or "torchvision:NAME", "timm:NAME", "module:callable".
        data: name of a data set.
        data_dir: its folder, where it has one.
        method: name of a compression method.
        penalty: name of the penalty on scales or groups, with its shape if that is not the default: "mcp:edge=0.5".
        strength: of the penalty, or "auto": found on the way so that the target is met.
        warmup: fraction of the steps in which a given strength grows to its value.
        beta: coupling of scales and their copies in proximal-slimming.
        target: fraction of the BatchNorm channels, or coupled groups, to become zero.
        floor: fraction of each layer's channels, or family's groups, that a target leaves alive; one channel at least.
        epochs: passes over the training images.
        schedule: of the learning rate, see `learning_rate`.
        init: checkpoint or ONNX file to start from; its zeros stay with method "sgd".
        from_scratch: of the checkpoint only the zeros: train the thin network from random weights.
        device: "auto" takes CUDA where there is one.
        seed: of weights, order of images and augmentation; the split of the data does not depend on it.
        mix: images with one another in training: "mixup", "cutmix", or "both", one of the two for each batch.
        label_smoothing: share of the target that is spread over all classes.
        clip_norm: largest norm of the gradient of the loss; 0: any.
        accumulate: passes per step, each of a part of the batch, for batches that do not fit into memory.
        ema: decay of an average of the weights, which is then what is evaluated and exported; 0: none.
        precision: "bf16" trains under autocast; weights and evaluation stay float32.
        compile: train through torch.compile.
        deterministic: allow torch only algorithms that give the same bits every time.
        log: who gets the figures of every epoch, too; see `compress.train.trackers`.
        train_limit: only the first so many training images, in the order of the data set: for quick trials, or for few
            labels.
        distill: the teacher: a run, a checkpoint or an ONNX file.
        distill_weight: of what the teacher says in the loss; the rest is that of the labels.
        temperature: by which the logits of teacher and student are divided for that.
        expand: train on six copies of every image, see `compress.data.expansion`.
        refine: start from the teacher's answers to the training images, and train these, too.
        out: folder of the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    data: str = "digits"
    data_dir: Path | None = None
    method: str = "proximal-slimming"
    penalty: str = "l1"
    strength: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    warmup: float = Field(0.0, ge=0, le=1)
    beta: float = Field(100.0, gt=0)
    target: float = Field(0.5, ge=0, lt=1)
    floor: float = Field(0.05, ge=0, lt=1)
    epochs: int = Field(160, ge=1)
    batch_size: int = Field(64, ge=2)
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Schedule = "step"
    init: Path | None = None
    from_scratch: bool = False
    device: str = "auto"
    seed: int = Field(0, ge=0)
    mix: Mix = "none"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float = Field(0.0, ge=0)
    accumulate: int = Field(1, ge=1)
    ema: float = Field(0.0, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    deterministic: bool = False
    log: str = "none"
    train_limit: int | None = Field(None, ge=2)
    distill: Path | None = None
    distill_weight: float = Field(0.7, ge=0, le=1)
    temperature: float = Field(2.0, gt=0)
    expand: bool = False
    refine: bool = False
    out: Path

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "configuration") -> TrainConfig:
        """A config from plain values.

        Raises:
            UserError: a key is unknown, missing or has a bad value; the first such one is named.
        """
        for key in values:
            if key not in cls.model_fields:
                raise unknown(f"key in {source}", key, list(cls.model_fields))
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(_explain(first, source)) from error

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """The config in a TOML file.

        Raises:
            UserError: there is none, it is not TOML, or a key is unknown, missing or has a bad value.
        """
        return cls.from_dict(read_toml(path), str(path))

    def to_toml(self) -> str:
        """The config as TOML; settings that are None are left out, as TOML has no word for it."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _explain(error: Any, source: str) -> str:
    key = error["loc"][0] if error["loc"] else "value"
    if error["type"] == "missing":
        return f"{source} lacks '{key}'"
    return f"{source}: {key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
