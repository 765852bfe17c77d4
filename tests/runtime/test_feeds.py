from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import SessionError
from runtime.feeds import batch_size, random_feeds, real_feeds

MIXED = """g (float[N,3,H,W] image, int64[N,L] ids, bool[N,L] mask,
uint8[N,3] pixel, float16[2,N] state, double s) => (float[N,3,H,W] y) { y = Identity(image) }"""


def shapes(feeds):
    return {name: array.shape for name, array in feeds.items()}


def test_dynamic_sizes_go_by_name_and_place(opened):
    session = opened(MIXED)
    assert shapes(random_feeds(session, batch=5)) == {
        "image": (5, 3, 64, 64),
        "ids": (5, 512),
        "mask": (5, 512),
        "pixel": (5, 3),
        "state": (2, 5),
        "s": (),
    }
    assert random_feeds(session, dims={"H": 32, "N": 7})["image"].shape == (7, 3, 32, 64)


def test_nameless_sizes_are_apart_from_each_other(opened):
    session = opened("g (float[?,3,?,?] x) => (float[?,3,?,?] y) { y = Identity(x) }")
    assert random_feeds(session, batch=3, dims={"x:2": 10})["x"].shape == (3, 3, 10, 64)


def test_types_and_values_suit_the_inputs(opened):
    session = opened(MIXED)
    feeds = random_feeds(session, batch=16)
    assert {name: array.dtype for name, array in feeds.items()} == {v.name: v.dtype for v in session.inputs}
    assert abs(feeds["image"].mean()) < 0.05 and abs(feeds["image"].std() - 1) < 0.05
    assert set(np.unique(feeds["ids"])) == {0, 1} and set(np.unique(feeds["mask"])) == {False, True}
    assert feeds["pixel"].max() > 127
    session.run(feeds)


def test_the_seed_decides(opened):
    session = opened(MIXED)
    first, again, other = (random_feeds(session, seed=seed)["image"] for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_a_size_that_is_not_there_is_refused(opened):
    with pytest.raises(SessionError, match=r"no dynamic size 'height'; it has: .*H"):
        random_feeds(opened(MIXED), dims={"height": 3})


def test_text_cannot_be_made_up(opened):
    with pytest.raises(SessionError, match="'t' is a tensor"):
        random_feeds(opened("g (string[N] t) => (string[N] y) { y = Identity(t) }"))


@pytest.mark.parametrize("fixed", ["N", "1", "4"])
def test_every_row_arrives_once_whatever_the_batch(opened, fixed):
    session = opened(f"g (float[{fixed},2] x) => (float[{fixed},2] y) {{ y = Identity(x) }}")
    batches = [
        np.arange(14, dtype=np.float32).reshape(7, 2),
        np.full((3, 2), -1, np.float32),
        np.empty((0, 2)),
    ]
    fed = [(feed["x"], rows) for feed, rows in real_feeds(session, batches)]
    np.testing.assert_array_equal(np.concatenate([x[:rows] for x, rows in fed]), np.concatenate(batches))
    if (size := batch_size(session)) is not None:
        assert {len(x) for x, _ in fed} == {size}


def test_images_follow_the_models_float_type_and_nothing_else(opened):
    half = opened("g (float16[N,2] x) => (float16[N,2] y) { y = Identity(x) }")
    (feed, _), *_ = real_feeds(half, [np.ones((3, 2), np.float32)])
    assert feed["x"].dtype == np.float16
    whole = opened("g (uint8[N,2] x) => (uint8[N,2] y) { y = Identity(x) }")
    with pytest.raises(SessionError, match="takes uint8"):
        list(real_feeds(whole, [np.ones((3, 2), np.float32)]))
    with pytest.raises(SessionError, match="6 inputs"):
        list(real_feeds(opened(MIXED), [np.ones((3, 2), np.float32)]))
