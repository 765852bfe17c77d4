"""Read and rewrite ONNX: remove every channel that provably has no effect, exactly, with a certificate.

`shrink` runs the steps, one file each: `program` (nodes, shapes, constants), `trace` (which elements are one channel),
`values` (what is known without the input), `choice` (what may go), `surgery` (the rewrite), `certificate`. What is
known of operators is in `rules` and `ops`.
"""

from graph.certificate import Certificate
from graph.errors import ModelError
from graph.io import load, save
from graph.shrink import Analysis, analyse, shrink

__all__ = ["Analysis", "Certificate", "ModelError", "analyse", "load", "save", "shrink"]
