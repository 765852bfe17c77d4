"""What is measured: a model, or two that can be compared, and the inputs they run on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.bundle import file_entry
from runtime.cases import random_cases
from runtime.differences import Differences
from runtime.errors import SessionError
from runtime.feeds import batch_size, usual_sizes
from runtime.measure import Open, Run
from runtime.parity import Parity
from runtime.session import Array, Feeds, Session, check_free_dims, open_session
from runtime.settings import Settings

Model = Path | bytes


@dataclass(frozen=True)
class Trial:
    """Models that run, and the feeds they ran on.

    Attributes:
        model: the candidate.
        against: the reference, if there is one.
        settings: how both are run.
        feeds: inputs for both.
        parity: how far the outputs of both are apart on ``feeds``; a large difference is no error.
        described: names and hashes of the models, how they run, shapes of inputs; for JSON.
    """

    model: Model
    against: Model | None
    settings: Settings
    feeds: Feeds
    parity: Parity | None
    described: Mapping[str, Any]

    @property
    def models(self) -> tuple[Model, ...]:
        """The candidate, then the reference."""
        return (self.model,) if self.against is None else (self.model, self.against)

    @property
    def rows(self) -> int:
        """Samples of one inference."""
        shape = next((array.shape for array in self.feeds.values()), ())
        return shape[0] if shape else 1


def trial(
    model: Model,
    against: Model | None = None,
    *,
    settings: Settings | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
) -> Trial:
    """Open the models, make inputs, and see that everything runs.

    Args:
        model: the candidate.
        against: the reference.
        settings: how both are run.
        batch: None for the batch size that the model is fixed to, or 1.
        dims: sizes of other dynamic axes, see ``random_feeds``.
        given: inputs that are not random, by name.

    Raises:
        SessionError: a model cannot be opened or run, is fixed to another batch size, or has other inputs or outputs
            than the one it is compared with.
    """
    settings = settings or Settings()
    check_free_dims(model, settings)
    session = open_session(model, settings)
    if against is None:
        feeds, parity, name = _feeds(session, batch, dims, given), None, None
        session.run(feeds)
    else:
        other = open_session(against, settings)
        differences = Differences(other, session)
        feeds, name = _feeds(differences.common, batch, dims, given), other.name
        differences.run(feeds)
        parity = differences.parity
    described = {
        "candidate": session.name,
        "reference": name,
        "files": {"candidate": _entry(model), "reference": None if against is None else _entry(against)},
        **session.describe(),
        "inputs": {name: list(array.shape) for name, array in feeds.items()},
    }
    return Trial(model, against, settings, feeds, parity, described)


def opener(subject: Trial, model: Model, *, transfers: bool = False) -> Open:
    """What opens a fresh session and returns its run: an inference that is complete when it returns.

    Args:
        subject: whose settings and feeds are taken.
        model: to open.
        transfers: inputs come from the memory of the host, and outputs go there, every time; otherwise both reside on
            the device.
    """

    def open_bound() -> Run:
        return open_session(model, subject.settings).bound(subject.feeds)

    def open_unbound() -> Run:
        session = open_session(model, subject.settings)

        def infer() -> None:
            session.run(subject.feeds)

        return infer

    return open_unbound if transfers else open_bound


def _feeds(
    session: Session, batch: int | None, dims: Mapping[str, int] | None, given: Mapping[str, Array] | None
) -> Feeds:
    fixed = batch_size(session)
    if batch is not None and fixed is not None and batch != fixed:
        raise SessionError(
            f"{session.name} is fixed to batch {fixed} and cannot run {batch}: "
            f"ask for {fixed}, or export it with a dynamic batch"
        )
    sizes = dict(dims or {})
    if batch is not None or not given:
        one, two = (usual_sizes(session, batch) for batch in (1, 2))
        sizes = {name: batch or 1 for name in one if one[name] != two[name]} | sizes
    return next(random_cases(session, seeds=1, dims=sizes, given=given))


def _entry(model: Model) -> dict[str, Any]:
    if isinstance(model, bytes):
        return {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}
    return file_entry(model)
