"""Read and rewrite ONNX: remove every channel that provably has no effect, exactly, with a certificate.

`shrink` runs the steps: `model` (nodes, shapes, constants), `tracing` (which elements are one channel), `values` (what
is known without the input), `choosing` (what may go), `rewriting`, `reporting` (the certificate). What is known of
operators is in `tracing.rules` and `ops`.
"""

from graph.errors import ModelError
from graph.files.io import load, save
from graph.reporting.certificate import Certificate
from graph.shrink import Analysis, analyse, shrink

__all__ = ["Analysis", "Certificate", "ModelError", "analyse", "load", "save", "shrink"]
