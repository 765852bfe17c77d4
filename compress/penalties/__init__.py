"""Penalties that make scales exactly zero: small frozen objects that know one formula each.

The formulas speak of x = |v| >= 0, of the proximal step tau > 0, and of mu = tau strength.
"""

from compress.penalties.base import PENALTIES, Penalty, Separable
from compress.penalties.concave import LogSum, TransformedL1
from compress.penalties.convex import L1, ElasticNet
from compress.penalties.folded import MCP, SCAD
from compress.penalties.parse import parse, resolved
from compress.penalties.power import L0, Lp

__all__ = [
    "L0",
    "L1",
    "MCP",
    "PENALTIES",
    "SCAD",
    "ElasticNet",
    "LogSum",
    "Lp",
    "Penalty",
    "Separable",
    "TransformedL1",
    "parse",
    "resolved",
]
