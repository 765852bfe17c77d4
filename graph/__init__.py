"""Read and rewrite ONNX: remove every channel that provably has no effect, exactly, with a certificate."""

from graph.certificate import Certificate
from graph.errors import ModelError
from graph.io import load, save
from graph.shrink import Analysis, analyse, shrink

__all__ = ["Analysis", "Certificate", "ModelError", "analyse", "load", "save", "shrink"]
