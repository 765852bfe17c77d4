"""What an op does to channels, in the notation of einsum.

``"n i ..., o i ..., o -> n o ..."`` reads: two axes with the same letter are the same channels, a letter that the
output lacks is summed over, and ``.`` (or ``...`` for any number of axes) is an axis on which the op mixes, moves or
normalises, so that no channel may leave along it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OPAQUE = "."


@dataclass(frozen=True)
class Signature:
    """Letters per axis: ``operands[k][axis]`` and ``outputs[k][axis]``.

    Attributes:
        groups: outputs see the inputs of their own group only; axis 1 of the weight counts within a group.
    """

    operands: tuple[tuple[str, ...], ...]
    outputs: tuple[tuple[str, ...], ...]
    groups: int = 1

    @property
    def summed(self) -> set[str]:
        """Letters that are summed over: they stand in an operand and in no output."""
        inside = {letter for axes in self.operands for letter in axes}
        return inside - {letter for axes in self.outputs for letter in axes} - {OPAQUE}


def parse(text: str, operand_ranks: Sequence[int | None], output_ranks: Sequence[int]) -> Signature:
    """Expand ``text`` for tensors of the given ranks; ``None`` stands for an optional operand that is absent.

    Raises:
        ValueError: the text does not fit the ranks.
    """
    left, _, right = text.partition("->")
    operands = [part.split() for part in left.split(",")]
    outputs = [part.split() for part in right.split(",")]
    if len(operand_ranks) > len(operands) or len(output_ranks) > len(outputs):
        raise ValueError(f"'{text}' has too few terms for {len(operand_ranks)} inputs, {len(output_ranks)} outputs")
    return Signature(
        tuple(_expand(axes, rank) for axes, rank in zip(operands, operand_ranks, strict=False)),
        tuple(_expand(axes, rank) for axes, rank in zip(outputs, output_ranks, strict=False)),
    )


def _expand(axes: list[str], rank: int | None) -> tuple[str, ...]:
    if rank is None:
        return ()
    if "..." in axes:
        place = axes.index("...")
        axes = axes[:place] + [OPAQUE] * (rank - len(axes) + 1) + axes[place + 1 :]
    if len(axes) != rank:
        raise ValueError(f"'{' '.join(axes)}' does not fit a tensor with {rank} axes")
    return tuple(axes)
