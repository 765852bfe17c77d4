from __future__ import annotations

from collections.abc import Callable

import onnx.parser
import pytest

from runtime.session import Session, open_session

Build = Callable[..., bytes]
Open = Callable[..., Session]


@pytest.fixture(scope="session")
def build() -> Build:
    """An ONNX file in memory from the text of its graph."""

    def from_text(graph: str, ir: int = 10, opset: int = 20) -> bytes:
        text = f'<ir_version: {ir}, opset_import: ["" : {opset}]>\n{graph}'
        return onnx.parser.parse_model(text).SerializeToString()

    return from_text


@pytest.fixture(scope="session")
def opened(build: Build) -> Open:
    """An open session from the text of a graph."""
    return lambda graph: open_session(build(graph))
