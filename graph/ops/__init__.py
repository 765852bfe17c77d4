"""What the compiler knows about ops, a module per family: signature, values, and the sizes that nodes carry.

Ops that treat each element alone, or only move elements, need no module: they are in tables of `graph.tracing.rules`.
"""

from graph.ops import (
    attention,
    casting,
    contraction,
    einsum,
    generation,
    indexing,
    normalisation,
    pooling,
    quantisation,
    recurrent,
    sampling,
)

__all__ = [
    "attention",
    "casting",
    "contraction",
    "einsum",
    "generation",
    "indexing",
    "normalisation",
    "pooling",
    "quantisation",
    "recurrent",
    "sampling",
]
