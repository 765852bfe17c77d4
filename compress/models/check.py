"""Whether a network and a data set belong together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.reference import describe


def check_fits(model: nn.Module, shape: tuple[int, int, int], *sizes: int) -> None:
    """Run two black images through ``model``, in evaluation mode, so that nothing in it changes.

    Args:
        model: a network on any device.
        shape: (C, H, W) of the images.
        sizes: expected sizes of the logits of one image: the number of classes, and height and width where every
            pixel has them.

    Raises:
        UserError: the model cannot read such images, or does not give ``[2, *sizes]``.
    """
    found = list(output_of(model, shape).shape)
    if found != [2, *sizes]:
        raise UserError(f"the model must turn 2 images of {_size(shape)} into logits {[2, *sizes]}, not {found}")


@torch.no_grad()
def output_of(model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """What ``model`` makes of two black images ``[2, C, H, W]``, in evaluation mode.

    Raises:
        UserError: the model cannot read such images, or returns something else than one tensor.
    """
    parameter = next(model.parameters(), torch.empty(0))
    training = model.training
    model.eval()
    try:
        output = model(torch.zeros(2, *shape, device=parameter.device))
    except Exception as error:
        raise UserError(f"the model cannot read images of {_size(shape)}: {describe(error)}") from error
    finally:
        model.train(training)
    if not isinstance(output, Tensor):
        raise UserError(f"the model must return one tensor, not {type(output).__name__}: wrap it in one that does")
    return output


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
