"""Small image sets that torchvision knows how to read; never downloaded."""

from __future__ import annotations

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
FASHION_CLASSES = """
T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot
"""


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
    needs = "cifar-10-batches-py/ with data_batch_1..5, test_batch and batches.meta"
    return _source(spec, "CIFAR10", data_dir, needs)


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
    return _source(spec, "CIFAR100", data_dir, "cifar-100-python/ with train, test and meta")


@DATA.register("fashion-mnist")
def fashion_mnist(data_dir: Path | None) -> Source:
    """Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28x28 in ten classes."""
    spec = Spec(
        name="fashion-mnist",
        shape=(1, 28, 28),
        classes=10,
        class_names=tuple(FASHION_CLASSES.split()),
        mean=(0.2860,),
        std=(0.3530,),
        augment="crop-flip",
    )
    needs = "FashionMNIST/raw/ with {train,t10k}-{images-idx3,labels-idx1}-ubyte"
    return _source(spec, "FashionMNIST", data_dir, needs)


def _source(spec: Spec, dataset: str, data_dir: Path | None, needs: str) -> Source:
    """The torchvision data set of class ``dataset`` in ``data_dir``, which must contain ``needs``."""
    if data_dir is None:
        raise UserError(f"{spec.name} needs --data-dir: the folder that contains {needs}")

    def read(*, train: bool) -> Images:
        try:
            from torchvision import datasets
        except ImportError as error:
            raise UserError(f"{spec.name} is read with torchvision: pip install torchvision") from error
        try:
            return _images(getattr(datasets, dataset)(data_dir, train=train, download=False))
        except RuntimeError as error:  # how torchvision reports missing files and wrong checksums
            missing = f"no {spec.name} in {data_dir}, or it is damaged"
            raise UserError(f"{missing}: the folder must contain {needs}") from error

    return Source(spec, train=lambda: read(train=True), test=lambda: read(train=False))


def _images(dataset: Any) -> Images:
    pixels = np.asarray(dataset.data)  # grey [N, H, W] or colour [N, H, W, 3]
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return Images(np.ascontiguousarray(pixels), np.asarray(dataset.targets, dtype=np.int64))
