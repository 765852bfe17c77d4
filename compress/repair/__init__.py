"""Repair without labels: the weights that are left are fitted anew, so that a pruned network does what it did."""

from compress.repair.importance import importance
from compress.repair.refit import Repair, repair

__all__ = ["Repair", "importance", "repair"]
