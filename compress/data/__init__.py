"""Labelled images by name. Importing this needs neither torch nor torchvision."""

from compress.data import (  # noqa: F401  (each registers its data sets)
    cifar,
    digits,
    drive,
    fashion_mnist,
    imagefolder,
    segmentation_folder,
)
from compress.data.folder_images import FolderImages
from compress.data.images import Images
from compress.data.loading import load
from compress.data.segmented import SegmentedImages
from compress.data.source import DATA, Data, ImageSet, Source
from compress.data.spec import Spec

__all__ = ["DATA", "Data", "FolderImages", "ImageSet", "Images", "SegmentedImages", "Source", "Spec", "load"]
