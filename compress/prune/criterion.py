"""Which channel classes matter least? The contract of all criteria: one score per class; the smallest go first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from compress.errors import UserError
from compress.progress import Progress, Silent
from compress.prune.calibration import Calibration
from compress.prune.store import Store
from compress.prune.trained import Trained
from compress.registry import Registry
from graph.candidates.classes import Classes, Scores
from graph.values import Mask
from runtime import Settings


@dataclass(frozen=True)
class Context:
    """What a criterion may ask for beyond the model.

    Attributes:
        seed: of what is drawn.
        data: calibration samples, if there are any.
        trained: the PyTorch model, if it is given.
        settings: how models are run.
        progress: who wants to know how far it is.
        store: scores that are known already.
        skip: classes [classes, bool] whose scores nobody needs; None for none.
    """

    seed: int = 0
    data: Calibration | None = None
    trained: Trained | None = None
    settings: Settings = field(default_factory=Settings)
    progress: Progress = field(default_factory=Silent)
    store: Store = field(default_factory=Store)
    skip: Mask | None = None

    @property
    def calibration(self) -> Calibration:
        """The samples.

        Raises:
            UserError: there are none.
        """
        if self.data is None:
            raise UserError("this criterion looks at activations: give training images with --data, or --input")
        return self.data


Criterion = Callable[[Classes, Context], Scores]

CRITERIA: Registry[Criterion] = Registry("criterion")
"""Functions from the classes of a model and a `Context` to one score per class, none of them NaN.

Scores of different families are compared, so they must be. A class that has no score must not go: infinity.
"""
