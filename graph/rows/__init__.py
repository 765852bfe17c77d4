"""Rows: tokens, and whatever else a network treats one by one until something mixes them.

A row is removed by a constant Gather where it is needed for the last time. `trace` finds what is a row, `needs` who
needs it, `remove` rewrites the model, `masks` makes a copy that takes the choice as an input.
"""

from graph.rows.masks import masked
from graph.rows.needs import needs
from graph.rows.remove import remove
from graph.rows.trace import trace

__all__ = ["masked", "needs", "remove", "trace"]
