"""CIFAR-10 and CIFAR-100 as their authors publish them for Python: pickled batches; never downloaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.images import Images
from compress.data.source import DATA, Source
from compress.data.spec import Spec
from compress.errors import UserError

CIFAR10_CLASSES = """
airplane automobile bird cat deer dog frog horse ship truck
"""
CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# What a pickled numpy array names, in old and new versions of numpy.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


@DATA.register("cifar10")
def cifar10(data_dir: Path | None) -> Source:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in ten classes.

    Normalised with ImageNet's mean and std, not its own (.4914 .4822 .4465, .2023 .1994 .2010 in Network
    Slimming): the public ResNet checkpoints were trained this way and lose accuracy otherwise, whereas a
    network trained here is indifferent, since BatchNorm follows its first convolution.
    """
    spec = Spec(
        name="cifar10",
        shape=(3, 32, 32),
        classes=10,
        class_names=tuple(CIFAR10_CLASSES.split()),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        augment="crop-flip",
    )
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return _source(spec, data_dir, "cifar-10-batches-py", batches, ["test_batch"], b"labels")


@DATA.register("cifar100")
def cifar100(data_dir: Path | None) -> Source:
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in a hundred classes."""
    spec = Spec(
        name="cifar100",
        shape=(3, 32, 32),
        classes=100,
        class_names=tuple(CIFAR100_CLASSES.split()),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        augment="crop-flip",
    )
    return _source(spec, data_dir, "cifar-100-python", ["train"], ["test"], b"fine_labels")


def _source(spec: Spec, data_dir: Path | None, name: str, train: list[str], test: list[str], labels: bytes) -> Source:
    needs = f"{name}/ with {', '.join([*train, *test])}"
    if data_dir is None:
        raise UserError(f"{spec.name} needs --data-dir: the folder that contains {needs}")

    def read(files: list[str]) -> Images:
        try:
            batches = [_unpickle(data_dir / name / file) for file in files]
            pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, *spec.shape)
            return Images(pixels, np.concatenate([batch[labels] for batch in batches]).astype(np.int64))
        except OSError as error:
            missing = f"no {spec.name} in {data_dir} ({error.filename}: {error.strerror})"
            raise UserError(f"{missing}: the folder must contain {needs}") from error
        except Exception as error:  # a damaged pickle raises almost anything
            raise UserError(f"{spec.name} in {data_dir} is damaged: unpack {needs} again") from error

    return Source(spec, train=lambda: read(train), test=lambda: read(test))


class _Unpickler(pickle.Unpickler):
    """Makes arrays and plain values, and runs nothing else that a file may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data set")
        return super().find_class(module, name)


def _unpickle(path: Path) -> dict[bytes, Any]:
    """A batch by Python 2 or 3, keys as bytes."""
    with path.open("rb") as file:
        content = _Unpickler(file, encoding="bytes").load()
    return {key if isinstance(key, bytes) else key.encode(): value for key, value in content.items()}
