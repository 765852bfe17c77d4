"""A thin network hidden in a wide one comes out as if it had been built thin: node for node, shape for shape."""

from __future__ import annotations

from collections import Counter
from functools import cache, partial

import numpy as np
import pytest
import thin_nets as nets
import torch
from models import assert_close, feeds, ops, run
from onnx import ModelProto, TensorProto
from thin_in_wide import Family, Maps, More, Widths, hide, in_groups, joined, spread

import graph
from graph.export import export


def widths(**pairs: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Thin and wide width by name."""
    return {side: {name: pair[place] for name, pair in pairs.items()} for place, side in enumerate(("thin", "wide"))}


def concatenations(**parts: str) -> More:
    """Widths that are sums of others, by their names in order."""
    return lambda rng, maps, thin, wide: {
        name: joined(*((maps[part], wide[part]) for part in text.split())) for name, text in parts.items()
    }


def groups(rng: np.random.Generator, maps: Maps, thin: Widths, wide: Widths) -> Maps:
    """The inner widths of a ResNeXt lie in groups, of which some are dead."""
    return {
        f"{name}{block}": in_groups(
            rng,
            maps[f"n_groups{block}"],
            thin[f"{name}{block}"] // thin[f"n_groups{block}"],
            wide[f"{name}{block}"] // wide[f"n_groups{block}"],
        )
        for block in (1, 2)
        for name in "ab"
    }


def shuffled(rng: np.random.Generator, maps: Maps, thin: Widths, wide: Widths) -> Maps:
    """One channel of every two, so that both halves of what is shuffled and split again lose as many."""
    half = np.arange(0, wide["half"], 2) + rng.integers(0, 2, thin["half"])
    both = spread(half, 2)
    left = both[both < wide["half"]]
    return {"half": half, "left": left, "right": both[both >= wide["half"]] - wide["half"], "both": spread(left, 2)}


def heads(rng: np.random.Generator, maps: Maps, thin: Widths, wide: Widths) -> Maps:
    inner = {f"inner{block}": spread(maps[f"n_heads{block}"], nets.HEAD) for block in (1, 2)}
    three = {
        f"qkv{block}": joined(*[(inner[f"inner{block}"], wide[f"n_heads{block}"] * nets.HEAD)] * 3) for block in (1, 2)
    }
    return inner | three


VIT = widths(n_heads1=(2, 4), n_heads2=(3, 5), m1=(9, 14), m2=(11, 17))

FAMILIES = {
    "ResNet": Family(nets.basic_resnet, **widths(stem=(5, 9), b1=(4, 7), b2=(6, 8), stage=(7, 12), b3=(8, 11))),
    "bottleneck": Family(
        nets.bottleneck_resnet, **widths(stem=(5, 9), a1=(4, 7), b1=(6, 8), stage=(11, 15), a2=(7, 9), b2=(8, 13))
    ),
    "ResNeXt": Family(
        nets.bottleneck_resnet,
        **widths(
            stem=(5, 9), stage=(7, 11),
            n_groups1=(2, 4), a1=(4, 12), b1=(6, 20), n_groups2=(3, 4), a2=(9, 16), b2=(12, 20),
        ),
        more=groups,
    ),
    "pre-activation": Family(nets.preactivation_resnet, **widths(stem=(6, 11), b1=(4, 7), b2=(5, 9))),
    "VGG": Family(
        nets.vgg,
        **widths(c1=(4, 7), c2=(5, 9), c3=(6, 8), f1=(11, 16), f2=(9, 14)),
        more=lambda rng, maps, thin, wide: {"flat": spread(maps["c3"], 9)},
    ),
    "DenseNet": Family(
        nets.densenet,
        **widths(
            stem=(6, 9), k1=(7, 8), g1=(4, 6), k2=(8, 11), g2=(5, 7), transition=(9, 13), k3=(11, 14), g3=(12, 15)
        ),
        more=concatenations(one="stem g1", two="stem g1 g2", three="transition g3"),
    ),
    "MobileNetV2": Family(
        nets.mobilenet_v2, **widths(stem=(4, 7), e1=(6, 11), stage=(5, 8), e2=(8, 14), last=(11, 15))
    ),
    "MobileNetV3": Family(
        nets.mobilenet_v3,
        **widths(stem=(4, 7), e1=(6, 11), s1=(2, 5), stage=(5, 8), e2=(8, 14), s2=(7, 9), last=(11, 15), f=(9, 12)),
    ),
    "ShuffleNetV2": Family(
        nets.ShuffleNet,
        **widths(stem=(5, 9), half=(4, 8), inner=(6, 9), middle=(7, 10), last=(9, 12)),
        more=shuffled,
        names={
            "left.1.0": ("stem", "half"), "left.1.1": ("half", "half"), "right.3.0": ("inner", "half"),
            "right.3.1": ("half", "half"), "unit.0.0": ("right", "middle"), "unit.3.0": ("middle", "left"),
            "unit.3.1": ("left", "left"),
        },
    ),
    "UNet": Family(
        nets.UNet,
        **widths(a=(4, 6), b=(5, 9), c=(6, 11), u1=(7, 9), d1=(8, 10), u2=(9, 13), d2=(11, 14)),
        more=concatenations(one="u1 b", two="u2 a"),
        names={"join2.0.0": ("two", "d2"), "join1.0.0": ("one", "d1")},
    ),
    "ViT": Family(partial(nets.ViT, fused=False), **VIT, more=heads),
    "ViT, fused qkv": Family(partial(nets.ViT, fused=True), **VIT, more=heads),
    "ConvNeXt": Family(nets.convnext, **widths(m1=(5, 9), m2=(7, 14), last=(9, 11))),
}  # fmt: skip


@cache
def exported(name: str, *, wide: bool, constants: bool = False) -> ModelProto:
    """A thin network, or the wide one that hides it."""
    family = FAMILIES[name]
    module = hide(family, 0, constants=constants)[wide]
    return export(module, torch.randn(2, *family.shape), name="net")


def shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", FAMILIES)
def test_zeros(name: str) -> None:
    thin, wide = exported(name, wide=False), exported(name, wide=True)
    slim, _ = graph.shrink(wide)
    assert Counter(ops(slim)) == Counter(ops(thin))
    assert sorted(shapes(slim).values()) == sorted(shapes(thin).values())
    inputs = feeds(thin)
    (expected,), (full,), (found,) = (run(model, inputs).values() for model in (thin, wide, slim))
    assert_close(full, expected)
    assert_close(found, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_constants(name: str) -> None:
    """At most one channel more per axis and group, which carries the constants over a padded border."""
    thin, wide = exported(name, wide=False), exported(name, wide=True, constants=True)
    slim, _ = graph.shrink(wide)
    (full,), (found,) = (run(model, feeds(thin)).values() for model in (wide, slim))
    assert_close(found, full)
    carriers = max([1, *(count for key, count in FAMILIES[name].thin.items() if key.startswith("n_groups"))])
    least, left, before = shapes(thin), shapes(slim), shapes(wide)
    for key in (tensor.name for tensor in thin.graph.initializer if tensor.data_type == TensorProto.FLOAT):
        excess = np.subtract(left[key], least[key])
        assert (excess <= carriers).all(), (key, least[key], left[key], before[key])
