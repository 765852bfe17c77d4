"""Random inputs of several seeds and shapes, as far as the model runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime.errors import SessionError
from runtime.feeds import fixed_sizes, random_feeds, usual_sizes
from runtime.session import Array, Feeds, Session

SEEDS = 8
# Times the usual sizes, where these do not fit: multiples of 7 for windows of a Swin, of 3 and 5; long ones for windows
# of audio models.
OTHER = 3.5, 3.75, 8


def random_cases(
    session: Session,
    *,
    seeds: int = SEEDS,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
) -> Iterator[Feeds]:
    """Random feeds, one per seed, which take turns in the shapes that ``session`` runs.

    Batches of 1, 2 and 3 where it is open; where other axes are, the usual sizes of `random_feeds`, half as much
    again, and half as much again along the last one alone (what is square by habit need not be). A shape that
    the model refuses is left out. If it refuses all of them, whoever runs it learns why from the first feeds.

    Raises:
        SessionError: as `random_feeds`.
    """
    shapes = _shapes(session, dims or {}, given or {})
    if given and len(given) == len(session.inputs):
        seeds = 1  # nothing is left to chance
    for seed in range(seeds):
        yield random_feeds(session, seed=seed, dims=shapes[seed % len(shapes)], given=given)


def _shapes(session: Session, dims: Mapping[str, int], given: Mapping[str, Array]) -> list[dict[str, int]]:
    """The sizes of the dynamic axes in every shape that ``session`` runs; those of one shape if it runs none."""
    fixed = fixed_sizes(session, dims, given)
    one, two, three = (usual_sizes(session, batch) for batch in (1, 2, 3))
    free = [name for name in one if name not in fixed and one[name] == two[name]]

    def scaled(sizes: dict[str, int], factor: float, names: list[str]) -> dict[str, int]:
        return sizes | {name: round(factor * sizes[name]) for name in names} | fixed

    usual = [scaled(sizes, 1, free) for sizes in (one, two, three)]
    grown = [scaled(two, 1.5, free), scaled(one, 1.5, free[-1:])]
    tried = [sizes for place, sizes in enumerate(usual + grown) if sizes not in (usual + grown)[:place]]
    if len(tried) == 1:
        return tried
    for candidates in (tried, *([scaled(sizes, factor, free) for sizes in (one, two)] for factor in OTHER)):
        if found := [sizes for sizes in candidates if _runs(session, sizes, given)]:
            return found
    return tried[:1]


def _runs(session: Session, sizes: Mapping[str, int], given: Mapping[str, Array]) -> bool:
    try:
        session.run(random_feeds(session, dims=sizes, given=given))
    except SessionError:
        return False
    return True
