from __future__ import annotations

import pytest
import torch

from compress.train.mixing import Mix, mixing


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "both"])
def test_mixed_images_have_mixed_labels(mix: Mix) -> None:
    torch.manual_seed(0)
    images, labels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 6, 6), torch.arange(8) % 5
    mixed, targets = mixing(mix, 5)(images, labels)
    assert mixed.shape == images.shape and not torch.equal(mixed, images)
    assert targets.shape == (8, 5)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    own = targets.gather(1, labels[:, None]).flatten()
    share = (mixed[1:] - images[:-1]).mean((1, 2, 3))  # of an image that is mixed with the one before it
    torch.testing.assert_close(share, own[1:])
