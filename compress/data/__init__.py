"""Labelled images by name. Importing this needs neither torch nor torchvision."""

from compress.data import cifar, digits, fashion_mnist, imagefolder  # noqa: F401  (each registers its data sets)
from compress.data.folder_images import FolderImages
from compress.data.images import Images
from compress.data.loading import load
from compress.data.source import DATA, Data, ImageSet, Source
from compress.data.spec import Spec

__all__ = ["DATA", "Data", "FolderImages", "ImageSet", "Images", "Source", "Spec", "load"]
