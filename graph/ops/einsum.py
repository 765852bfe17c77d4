"""Einsum: its equation is its signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from graph.model.evaluate import Array
from graph.model.program import Program, attributes
from graph.tracing.movement import collapse
from graph.tracing.rules import signature_rule
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, value_rule

DOTS = "..."


@signature_rule("Einsum")
def einsum(program: Program, node: NodeProto) -> Signature:
    """Its equation; an ellipsis stands for batch axes, which broadcast, and a diagonal freezes its axes."""
    left, arrow, right = attributes(node)["equation"].decode().replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:  # what stands once, in alphabetical order
        right = DOTS * (DOTS in left) + "".join(sorted(each for each in set(left) - set(".,") if left.count(each) == 1))
    ranks = [len(program.shapes[name]) for name in node.input]
    batch = max(rank - len(term.replace(DOTS, "")) for term, rank in zip(terms, ranks, strict=True))
    operands = [_letters(term, rank, batch) for term, rank in zip(terms, ranks, strict=True)]
    output = _letters(right, len(program.shapes[node.output[0]]), batch)
    diagonal = {letter for axes in operands for letter in axes if axes.count(letter) > 1}

    def opaque(axes: list[str]) -> tuple[str, ...]:
        return tuple(OPAQUE if letter in diagonal else letter for letter in axes)

    return Signature(tuple(map(opaque, operands)), (opaque(output),))


def _letters(term: str, rank: int, batch: int) -> list[str]:
    """One letter per axis; the last batch axes of all terms are the same.

    Raises:
        ValueError: the term does not fit a tensor with ``rank`` axes.
    """
    head, dots, tail = term.partition(DOTS)
    count = rank - len(head) - len(tail)
    if count < 0 or (count and not dots):
        raise ValueError(f"'{term}' does not fit a tensor with {rank} axes")
    return [*head, *(f"b{place}" for place in range(batch - count, batch)), *tail]


@value_rule("Einsum")
def _einsum(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """A sum is known if every product in it is: all of its factors are known, or one of them is zero."""
    program = values.program
    if any(name in program.constants and not values.finite(name) for name in node.input):
        return None  # 0 * inf is not 0
    factors = [_factor(values, name, axes, found.summed) for name, axes in zip(node.input, found.operands, strict=True)]
    nonzero = [~factor.mask | (factor.value != 0) for factor in factors]

    def total(arrays: Sequence[Array]) -> Array:
        return program.evaluate(node, list(arrays))[0]

    if any(_grows(program, name, axes, found.summed) for name, axes in zip(node.input, found.operands, strict=True)):
        zero = total([each.astype(np.float32) for each in nonzero]) == 0  # other sums are those of the probe size
        return Known(np.zeros((1,) * zero.ndim, np.float32), collapse(zero))
    unsure = np.zeros((1,) * len(found.outputs[0]), np.bool_)
    for place, factor in enumerate(factors):
        if not factor.mask.all():
            doubts = [~factor.mask if each == place else other for each, other in enumerate(nonzero)]
            unsure = unsure | (total([doubt.astype(np.float32) for doubt in doubts]) > 0)
    value = total([np.where(factor.mask, factor.value, 0) for factor in factors])
    return Known(collapse(value), collapse(~unsure & np.isfinite(value)))


def _grows(program: Program, name: str, axes: tuple[str, ...], summed: set[str]) -> bool:
    """Whether an axis that is summed over depends on what is fed."""
    return any(axes[axis] in summed | {OPAQUE} for axis in program.dynamic.get(name, ()))


def _factor(values: Values, name: str, axes: tuple[str, ...], summed: set[str]) -> Known:
    """What is known of an operand, with summed and diagonal axes at full length."""
    shape = values.program.shapes[name]
    known = values.of(name) or Known(np.zeros((1,) * len(shape), np.float32), np.zeros((1,) * len(shape), np.bool_))
    own = np.broadcast_shapes(known.value.shape, known.mask.shape)
    sizes = [full if letter in summed | {OPAQUE} else size for letter, full, size in zip(axes, shape, own, strict=True)]
    return Known(np.broadcast_to(known.value, sizes), np.broadcast_to(known.mask, sizes))
