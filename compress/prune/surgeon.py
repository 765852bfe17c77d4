"""The criterion that goes with `repair`: what is lost without a class once the others have been fitted anew."""

from __future__ import annotations

from compress.prune.criterion import CRITERIA, Context
from compress.repair import importance
from graph.candidates.classes import Classes, Scores


@CRITERIA.register("surgeon")
def surgeon(classes: Classes, context: Context) -> Scores:
    """Optimal brain surgeon over whole classes: the error that stays when the weights behind one make up for it.

    Source: Hassibi and Stork, "Second order derivatives for network pruning", NeurIPS 1992, on the squared error of
    each layer instead of the loss; see `importance`.
    """
    return importance(
        classes,
        context.calibration.batches,
        seed=context.seed,
        settings=context.settings,
        progress=context.progress,
    )
