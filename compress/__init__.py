"""Learn zeros, and own the command line: ``compress train | export | shrink | verify | bench | demo``."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("onnx-compress")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0"
