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


def test_given_inputs_arrive_as_they_are_and_fix_the_sizes(opened):
    session = opened(MIXED)
    image = np.ones((3, 3, 5, 7), np.float32)
    feeds = random_feeds(session, given={"image": image, "s": np.array(0.5), "mask": np.array(True)})
    assert (feeds["image"] == image).all() and feeds["s"] == 0.5 and feeds["s"].shape == ()
    assert feeds["ids"].shape == feeds["mask"].shape == (3, 512) and feeds["mask"].all()
    assert feeds["state"].shape == (2, 3)
    session.run(feeds)
    session.bound(feeds)()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picture": np.zeros(1)}, "no input 'picture'; it has: image, ids"),
        ({"image": np.zeros((1, 3, 4, 4))}, r"'image' takes a tensor\(float\), and float64"),
        ({"image": np.zeros((1, 4, 4, 4), np.float32)}, r"'image' takes \[N, 3, H, W\], and \[1, 4, 4, 4\]"),
        ({"image": np.zeros((1, 3, 4), np.float32)}, r"'image' takes .* and \[1, 3, 4\]"),
        ({"ids": np.zeros((2, 5), np.int64), "mask": np.zeros((2, 6), bool)}, r"'mask' takes \[2, 5\], and \[2, 6\]"),
    ],
)
def test_given_inputs_that_do_not_fit_are_refused(opened, given, message):
    with pytest.raises(SessionError, match=message):
        random_feeds(opened(MIXED), given=given)


def test_an_input_of_unknown_rank_takes_what_is_given(opened):
    session = opened("g (float x) => (float y) { y = Relu(x) }")
    images = np.ones((2, 3, 4), np.float32)
    assert random_feeds(session, given={"x": images})["x"].shape == (2, 3, 4)
    assert [feed["x"].shape for feed, _ in real_feeds(session, [images])] == [(2, 3, 4)]


def test_text_cannot_be_made_up(opened):
    session = opened("g (string[N] t) => (string[N] y) { y = Identity(t) }")
    with pytest.raises(SessionError, match="'t' is a tensor"):
        random_feeds(session)
    feeds = random_feeds(session, given={"t": np.array(["a", "bc"])})
    assert session.run(feeds)["y"].tolist() == ["a", "bc"]


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
    with pytest.raises(SessionError, match=r"takes float16\[N, 2\] at 'x', and data comes as \[n, 3\]"):
        list(real_feeds(half, [np.ones((3, 3), np.float32)]))
    with pytest.raises(SessionError, match="6 inputs"):
        list(real_feeds(opened(MIXED), [np.ones((3, 2), np.float32)]))
