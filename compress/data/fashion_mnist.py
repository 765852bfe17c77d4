"""Fashion-MNIST in the layout of torchvision; never downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data.images import Images
from compress.data.source import DATA, Source
from compress.data.spec import Spec
from compress.errors import UserError

CLASSES = """
T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot
"""
FOLDER = "FashionMNIST/raw"
HEADERS = {"images-idx3": 16, "labels-idx1": 8}  # bytes before the values


@DATA.register("fashion-mnist")
def fashion_mnist(data_dir: Path | None) -> Source:
    """Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28x28 in ten classes."""
    spec = Spec(
        name="fashion-mnist",
        shape=(1, 28, 28),
        classes=10,
        class_names=tuple(CLASSES.split()),
        mean=(0.2860,),
        std=(0.3530,),
        augment="crop-flip",
    )
    needs = f"{FOLDER}/ with {{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte"
    if data_dir is None:
        raise UserError(f"fashion-mnist needs --data-dir: the folder that contains {needs}")

    def read(part: str) -> Images:
        try:
            pixels, labels = (
                np.fromfile(data_dir / FOLDER / f"{part}-{kind}-ubyte", np.uint8, offset=header)
                for kind, header in HEADERS.items()
            )
            return Images(pixels.reshape(-1, *spec.shape), labels.astype(np.int64))
        except OSError as error:
            missing = f"no fashion-mnist in {data_dir} ({error.filename}: {error.strerror})"
            raise UserError(f"{missing}: the folder must contain {needs}") from error
        except ValueError as error:
            raise UserError(f"fashion-mnist in {data_dir} is damaged: unpack {needs} again") from error

    return Source(spec, train=lambda: read("train"), test=lambda: read("t10k"))
