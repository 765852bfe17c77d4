"""Networks by name: the project's own zoo, torchvision, timm, or anybody's function."""

from compress.models import densenet, preresnet, resnet, unet, vgg  # noqa: F401  (each registers its models)
from compress.models.check import check_fits
from compress.models.registry import MODELS
from compress.models.resolve import build

__all__ = ["MODELS", "build", "check_fits"]
