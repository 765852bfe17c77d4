"""Training: `train(TrainConfig(...))` writes a run's folder, `load_run` reads the network back."""

from compress.train.config import TrainConfig
from compress.train.loop import train
from compress.train.path import train_path
from compress.train.run import Summary, load_run

__all__ = ["Summary", "TrainConfig", "load_run", "train", "train_path"]
