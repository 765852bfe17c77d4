"""Six copies of every image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from compress.data import Images
from compress.data.expansion import cut_out, expanded, rotated, shuffled


def drawn(count: int = 20, size: int = 12) -> Tensor:
    """No pixel is black."""
    return torch.randint(1, 256, (count, 3, size, size), generator=Generator().manual_seed(0)).to(torch.uint8)


def test_six_copies_with_their_labels_from_a_seed() -> None:
    images = Images(drawn().numpy(), np.arange(20))
    six, again, other = (expanded(images, seed) for seed in (3, 3, 4))
    assert six.images.shape == (120, 3, 12, 12)
    assert np.array_equal(six.images[:20], images.images)
    assert np.array_equal(six.labels, np.tile(np.arange(20), 6))
    assert np.array_equal(six.images, again.images)
    for copy in range(1, 6):
        part = slice(20 * copy, 20 * copy + 20)
        assert not np.array_equal(six.images[part], images.images)
        assert not np.array_equal(six.images[part], other.images[part])


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_whole_blocks_change_places(blocks: int) -> None:
    pixels = drawn()
    found = shuffled(pixels, blocks, Generator().manual_seed(0))
    size = 12 // blocks

    def parts(image: Tensor) -> list[list[int]]:
        cut = image.unfold(1, size, size).unfold(2, size, size).permute(1, 2, 0, 3, 4)
        return sorted(cut.reshape(blocks**2, -1).tolist())

    assert all(parts(before) == parts(after) for before, after in zip(pixels, found, strict=True))
    assert (found != pixels).flatten(1).any(1).float().mean() > 0.8


def test_sizes_that_do_not_divide_stay() -> None:
    assert shuffled(drawn(size=8), 3, Generator()).shape == (20, 3, 8, 8)


def test_a_rectangle_is_cut_out() -> None:
    pixels = drawn(size=20)
    found = cut_out(pixels, Generator().manual_seed(0))
    gone = found == 0
    for image in gone:
        rows, columns = image[0].any(1), image[0].any(0)
        assert torch.equal(image, (rows[:, None] & columns[None]).expand(3, -1, -1))
        assert 4 <= rows.sum() <= 10  # 0.2 to 0.5 of 20
        assert rows.nonzero().diff(dim=0).eq(1).all()
    assert torch.equal(found[~gone], pixels[~gone])


def test_rotation_turns_about_the_centre() -> None:
    pixels = torch.zeros(40, 1, 9, 9, dtype=torch.uint8)
    pixels[:, :, 4, 4] = 200
    pixels[:, :, 4, 7] = 100
    found = rotated(pixels, Generator().manual_seed(0))
    assert (found[:, 0, 4, 4] == 200).all()
    places = {tuple(place) for image in found for place in (image[0] == 100).nonzero().tolist()}
    assert len(places) > 8  # all around
    assert all(2 <= np.hypot(y - 4, x - 4) <= 4 for y, x in places)
