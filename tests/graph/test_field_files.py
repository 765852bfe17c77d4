"""Third-party ONNX files, of many exporters and years: shrunk as they are, and with random channels zeroed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from backend_models import difference
from models import Array, session
from onnx import ModelProto

import graph
from graph.candidates.classes import classes
from tests.benchmarks.zoo.zeroing import random_share, stay

FILES = """
    agllnet_256 cifar10_resnet_2b cifar10_resnet_4b deeplab_v3_mnv2 dtln_model_1 fastestdet gtcrn_stream_simple
    lightweight_person_detector mnist_cntk pfld ppocr_mobile_v2_cls ppocr_v3_det retinaface_mbnet025 silero_micro_2021
    silero_vad_v4 ultraface_rfb_320 vit_cifar10_ibp_3_3_8 yolox_nano yunet_n_640
""".split()

#: Recurrent cells and sub-graphs hold all their channels: nothing has to go from these.
ALL_HELD = {"dtln_model_1", "gtcrn_stream_simple", "silero_micro_2021", "silero_vad_v4"}

#: Inputs whose dynamic sizes are not free.
SHAPES = {
    ("silero_vad_v4", "input"): (1, 512), ("silero_vad_v4", "h"): (2, 1, 64), ("silero_vad_v4", "c"): (2, 1, 64),
    ("silero_micro_2021", "input"): (1, 4000), ("ppocr_mobile_v2_cls", "x"): (1, 3, 48, 192),
}  # fmt: skip
SAMPLING_RATE = 16_000


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, shared_data: Path) -> ModelProto:
    path = shared_data / "onnx" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}")
    return graph.load(path)


def run(name: str, model: ModelProto) -> list[Array]:
    """Outputs for inputs between 0 and 1: images and sounds, where far larger ones would drown everything else."""
    judge, rng = session(model), np.random.default_rng(0)
    feeds = {}
    for value in judge.get_inputs():
        sizes = [
            size if isinstance(size, int) and size > 0 else 320 if axis else 1 for axis, size in enumerate(value.shape)
        ]
        if value.type == "tensor(int64)":
            feeds[value.name] = np.full(sizes, SAMPLING_RATE)
        else:
            feeds[value.name] = rng.random(SHAPES.get((name, value.name), sizes)).astype(np.float32)
    outputs: list[Array] = judge.run(None, feeds)
    return outputs


def test_as_it_is(name: str, model: ModelProto) -> None:
    slim, certificate = graph.shrink(model)
    assert not difference(run(name, model), run(name, slim), 1e-5)
    assert certificate.output.parameters <= certificate.input.parameters


def test_zeroed_channels_go(name: str, model: ModelProto) -> None:
    found = classes(graph.analyse(model))
    chosen = random_share(found, 0.3, seed=0)
    zeroed = found.zeroed(chosen)
    slim, certificate = graph.shrink(zeroed)
    assert not difference(run(name, zeroed), run(name, slim), 1e-5)
    assert not stay(slim)
    assert name in ALL_HELD or certificate.output.parameters < 0.95 * certificate.input.parameters
