"""Whether a network and a data set belong together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.errors import UserError
from compress.reference import describe


@torch.no_grad()
def check_fits(model: nn.Module, shape: tuple[int, int, int], classes: int) -> None:
    """Run two black images through ``model``, in evaluation mode, so that nothing in it changes.

    Args:
        model: a network on any device.
        shape: (C, H, W) of the images.
        classes: expected number of logits.

    Raises:
        UserError: the model cannot read such images, or does not give ``[2, classes]``.
    """
    size = "x".join(map(str, shape))
    parameter = next(model.parameters(), torch.empty(0))
    training = model.training
    model.eval()
    try:
        logits = model(torch.zeros(2, *shape, device=parameter.device))
    except Exception as error:
        raise UserError(f"the model cannot read images of {size}: {describe(error)}") from error
    finally:
        model.train(training)
    found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != [2, classes]:
        raise UserError(f"the model must turn 2 images of {size} into logits [2, {classes}], not {found}")
