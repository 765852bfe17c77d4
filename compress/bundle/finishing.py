"""A model as it is handed over: with names, preprocessing and labels, and without exporters' notes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto

from compress.bundle.embedding import CLASS, LABEL, Preprocessing, embed_labels, embed_preprocessing
from compress.bundle.recording import CASES, PLAIN
from compress.errors import UserError
from graph.files.io import digest
from graph.files.metadata import strip_exporter_metadata
from runtime import open_session, real_feeds
from runtime.session import Array, Feeds, Session

if TYPE_CHECKING:
    from compress.data import Data

INSIDE = ("preprocessing", "labels")


@dataclass(frozen=True)
class Source:
    """A model to hand over, and what its input and output mean as far as that is known.

    Attributes:
        model: as it was read.
        session: it, as plain as onnxruntime runs it.
        preprocessing: from pixels to its input.
        labels: of its classes; empty if unknown.
        inside: of ``INSIDE``, what becomes a part of the graph.
        data: test images, where the data set is at hand.
    """

    model: ModelProto
    session: Session
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    inside: tuple[str, ...]
    data: Data | None

    @classmethod
    def of(cls, path: Path, model: ModelProto, inside: tuple[str, ...], data: Data | None) -> Source:
        """What the model's metadata and the data say.

        Raises:
            SessionError: the model does not open.
            UserError: the two do not agree, or neither says what is to go inside.
        """
        said = {entry.key: entry.value for entry in model.metadata_props}
        preprocessing = Preprocessing.of(said["preprocessing"]) if "preprocessing" in said else None
        labels = _labels(said["labels"]) if "labels" in said else ()
        if data is not None:
            spec = data.spec
            theirs = Preprocessing(1 / 255, spec.mean, spec.std)
            if preprocessing not in (None, theirs) or labels not in ((), spec.class_names):
                raise UserError(f"{path} says in its metadata that it was made for other data than {spec.name}")
            preprocessing, labels = theirs, spec.class_names
        for name, known in zip(INSIDE, (preprocessing, labels), strict=True):
            if name in inside and not known:
                raise UserError(f"--inside {name}: {path} does not say which, name its data with --data")
        return cls(model, open_session(path, PLAIN), preprocessing, labels, inside, data)

    def finished(self, name: str, metadata: Mapping[str, str | None]) -> ModelProto:
        """The model to hand over; its graph is called by its content, since engine caches key on it.

        Args:
            name: of the model.
            metadata: more of it, where it is not None.

        Raises:
            UserError: preprocessing or labels cannot go inside.
        """
        model = ModelProto()
        model.CopyFrom(self.model)
        strip_exporter_metadata(model)
        said = {entry.key: entry.value for entry in model.metadata_props}
        said |= {key: value for key, value in metadata.items() if value is not None}
        if self.labels:
            said["labels"] = json.dumps(self.labels)
        if "labels" in self.inside:
            embed_labels(model, self.labels)
        if self.preprocessing is not None:
            if "preprocessing" in self.inside:
                embed_preprocessing(model, self.preprocessing)
                said.pop("preprocessing", None)  # nobody shall do it again
                said |= _pixel_format(self.preprocessing)
            else:
                said["preprocessing"] = self.preprocessing.json()
        onnx.helper.set_model_props(model, said)
        model.graph.name = f"{name}-{digest(model)[:12]}"
        return model

    def images(self, data: Data, finished: Session) -> Iterable[Feeds]:
        """A few test images of ``data``, as the finished model takes them."""
        if "preprocessing" in self.inside:
            unscaled = replace(data.spec, mean=(0.0,) * len(data.spec.mean), std=(1.0,) * len(data.spec.std))
            images = np.rint(255 * next(iter(data.test.batches(CASES, unscaled)))[0]).astype(np.uint8)
        else:
            images = next(iter(data.test.batches(CASES, data.spec)))[0]
        return (feeds for feeds, _ in real_feeds(finished, [images]))

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """What the finished model must give for its own inputs, computed by the original one."""
        if "preprocessing" in self.inside and self.preprocessing is not None:
            (pixels,), (value,) = feeds.values(), self.session.inputs
            feeds = {value.name: self.preprocessing.apply(pixels).astype(value.dtype)}
        outputs = self.session.run(feeds)
        if "labels" in self.inside:
            found = outputs[self.session.outputs[0].name].argmax(1)
            outputs |= {CLASS: found, LABEL: np.array(self.labels)[found]}
        return outputs


def _labels(text: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(text)))
    except (ValueError, TypeError) as error:
        raise UserError(f"the metadata 'labels' of the model cannot be read: {text[:80]}") from error


def _pixel_format(preprocessing: Preprocessing) -> dict[str, str]:
    """ONNX's standard keys for images, which say what the input tensor holds."""
    kind = {1: "Gray8", 3: "Rgb8"}.get(len(preprocessing.mean))
    usual = {"Image.ColorSpaceGamma": "SRGB", "Image.NominalPixelRange": "NominalRange_0_255"}
    return usual | ({"Image.BitmapPixelFormat": kind} if kind else {})
