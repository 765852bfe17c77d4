"""Zero the channel classes that matter least, down to a budget. Nothing is removed here: that is `shrink`'s work."""

from compress.prune import activations, divergence, gradients, surgeon, weights  # noqa: F401  (each registers its criteria)
from compress.prune.criterion import CRITERIA, Context, Criterion
from compress.prune.pruning import Pruned, prune_file

__all__ = ["CRITERIA", "Context", "Criterion", "Pruned", "prune_file"]
