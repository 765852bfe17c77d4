"""The table of the project's own models; a new one is one file here and one decorator."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from compress.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")
"""Builders ``f(classes: int = 10, channels: int = 3) -> nn.Module``, freshly initialised."""
