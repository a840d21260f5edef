"""Exact sums over rows, as integers.

A non-negative float64 is ``mantissa * 2**exponent`` with integers on both sides. So a sum is kept as one
integer for each exponent: the sum of the mantissas that came with it (R. M. Neal, "Fast exact summation
using small and large superaccumulators", arXiv:1505.05571). Integers add associatively: the state is the
same, bit for bit, for every order and every split of the rows, two states merge by ``+``, and the sum that
is read from a state is the correctly rounded one, that of :func:`math.fsum`.

A mantissa's 53 bits are kept in two parts, so that int64 sums have room: for 2**36 rows (6.8e10) in the
worst case, where all have the same exponent and full mantissas.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_FRACTION = 52  # mantissa bits that a float64 stores
_LOW = 26  # bits in the low part of a mantissa
_INF = 0x7FF << _FRACTION  # the bits of +inf; those of a NaN, its sign aside, are larger
_COLUMNS = 2049  # the 2047 exponents of finite values, then +inf, then NaN
_UNIT = 1 << 1074  # integers are read in units of 2**-1074, the smallest float64

# A state is one vector, five lines of _COLUMNS and a last number, the items.
_VALUE_LOW, _VALUE_HIGH, _WEIGHT_LOW, _WEIGHT_HIGH, _ROWS, _ITEMS = (line * _COLUMNS for line in range(6))


class Totals(NamedTuple):
    """What a state says of the rows that went in."""

    value: float
    """Sum of weight * value over the valid rows; ``inf`` if one of them is."""
    weight: float
    """Sum of the weights of the valid rows."""
    items: int
    """Number of items along the first batch dimension."""
    rows: int
    """Number of rows of positive weight, valid or not."""
    invalid: int
    """How many of them have NaN for a value."""


def zeros() -> Tensor:
    """The state that has seen nothing."""
    return torch.zeros(_ITEMS + 1, dtype=torch.int64)


def weigh(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weight * value; a row of weight zero is left out, whatever its value: it counts as 0."""
    return values if weights is None else torch.where(weights == 0, 0.0, values * weights)


def add(state: Tensor, values: Tensor, weights: Tensor | None, items: int) -> Tensor:
    """A new state: the given one and these rows.

    Args:
        state: A state; it is not changed.
        values: Float64, one value >= 0 (or NaN) a row.
        weights: Float64 of the same shape, finite and >= 0; None for 1 each.
        items: Number of items along the first batch dimension.
    """
    values = weigh(values, weights).flatten()
    weights = torch.ones_like(values) if weights is None else weights.flatten()
    valid_weights = weights.masked_fill(values.isnan(), 0.0)
    bits = torch.stack([values, valid_weights]).abs().view(torch.int64)  # abs: a NaN may carry a sign
    exponent = bits >> _FRACTION
    mantissa = bits - ((exponent - 1).clamp_(min=0) << _FRACTION)  # with the leading bit, which is not stored
    low, high = mantissa & ((1 << _LOW) - 1), mantissa >> _LOW
    value, weight = exponent + (bits > _INF)  # the columns
    end = value.new_tensor([_ITEMS]), value.new_tensor([items])
    index = [value, value + _VALUE_HIGH, weight + _WEIGHT_LOW, weight + _WEIGHT_HIGH, value + _ROWS, end[0]]
    number = [low[0], high[0], low[1], high[1], (weights != 0).long(), end[1]]
    return state.index_add(0, torch.cat(index), torch.cat(number))


def totals(state: Tensor) -> Totals:
    """Read a state; this waits for the device."""
    state = state.cpu()
    places = state.nonzero().squeeze(1)
    sums = [0, 0]
    rows = [0, 0, 0]  # finite, infinite, NaN
    for place, number in zip(places[places < _ITEMS].tolist(), state[places].tolist(), strict=False):
        line, column = divmod(place, _COLUMNS)
        if place >= _ROWS:
            rows[max(column - 2046, 0)] += number
        elif column < 2047:
            sums[line // 2] += number << (max(column - 1, 0) + _LOW * (line % 2))
    value, weight = map(_to_float, sums)
    return Totals(
        value=float("inf") if rows[1] else value,
        weight=weight,
        items=int(state[_ITEMS]),
        rows=sum(rows),
        invalid=rows[2],
    )


def _to_float(number: int) -> float:
    """The float64 nearest to an integer number of units; past the largest, ``inf``."""
    try:
        return number / _UNIT  # of integers, so correctly rounded
    except OverflowError:
        return float("inf")
