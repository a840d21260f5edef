"""Exact sums over rows, as integers.

A non-negative float64 is ``mantissa * 2**exponent`` with integers on both sides. So a sum is kept as one
integer for each exponent: the sum of the mantissas that came with it (R. M. Neal, "Fast exact summation
using small and large superaccumulators", arXiv:1505.05571). Integers add associatively: the state is the
same, bit for bit, for every order and every split of the rows, two states merge by ``+``, and the sum that
is read from a state is the correctly rounded one, that of :func:`math.fsum`.

The 52 bits of a mantissa that float64 stores are kept in two halves, so that int64 sums have room: for 2**37
rows (1.4e11) in the worst case, where all have the same exponent and full mantissas. The leading bit, which it
does not store, is there once for each value with an exponent above 0, and these are counted.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_FRACTION = 52  # mantissa bits that a float64 stores
_HALF = 26
_INF = 0x7FF << _FRACTION  # the bits of +inf; those of a NaN are larger
_COLUMNS = 2049  # the 2047 exponents of finite values, then +inf, then NaN
_PIECE = 1 << 16  # rows that are added at a time, for what they need meanwhile
_SHIFTS = 0, _HALF, _FRACTION  # of low halves, of high halves, and of the leading bits, one for each value
_UNIT = 1 << 1074  # integers are read in units of 2**-1074, the smallest float64

# A state is one vector: two banks of three lines of _COLUMNS numbers, and at the end the items. A bank's lines
# hold low halves, high halves, and how many values came. The first bank is for weight * value of every row, the
# second for the weights of those rows that came with one.
_VALUES, _WEIGHTS, _ITEMS = (bank * 3 * _COLUMNS for bank in range(3))


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


def zeros(device: torch.device | None = None) -> Tensor:
    """The state that has seen nothing."""
    return torch.zeros(_ITEMS + 1, dtype=torch.int64, device=device)


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
    state = state.clone()
    state[_ITEMS:].add_(items)
    if weights is None:
        for part in _pieces(values):
            _add_(state, _VALUES, part, torch.ones_like(part, dtype=torch.int64))
        return state
    for part, weight in zip(_pieces(values), _pieces(weights), strict=True):
        weighed, kept = weigh(part, weight), weight != 0
        valid = ~weighed.isnan()
        _add_(state, _VALUES, weighed, kept.long())
        _add_(state, _WEIGHTS, weight.where(valid, 0.0), (kept & valid).long())
    return state


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x.flatten(), _PIECE) if x.numel() > _PIECE else (x.flatten(),)


def _add_(state: Tensor, bank: int, numbers: Tensor, count: Tensor) -> None:
    bits = numbers.abs().view(torch.int64)  # abs: a NaN may carry a sign
    columns = (bits >> _FRACTION).add_(bits > _INF)
    halves = bits & (1 << _HALF) - 1, (bits >> _HALF).bitwise_and_((1 << _HALF) - 1)
    state[bank : bank + 3 * _COLUMNS].view(3, _COLUMNS).index_add_(1, columns, torch.stack([*halves, count]))


def totals(state: Tensor) -> Totals:
    """Read a state; this waits for the device."""
    sums, counts = [0, 0], [[0, 0, 0], [0, 0, 0]]  # for each bank: of finite values; how many finite, infinite, NaN
    state = state.cpu()
    places = state[:_ITEMS].nonzero().squeeze(1)
    for place, number in zip(places.tolist(), state[places].tolist(), strict=True):
        bank, place = divmod(place, 3 * _COLUMNS)
        line, column = divmod(place, _COLUMNS)
        if line == 2:
            counts[bank][max(column - 2046, 0)] += number
        if column < 2047 and (line < 2 or column > 0):  # exponent 0 has no leading bit
            sums[bank] += number << _SHIFTS[line] + max(column - 1, 0)
    (finite, infinite, invalid), (weighed, _, _) = counts
    ones = finite + infinite - weighed  # the valid rows that came without a weight
    return Totals(
        value=math.inf if infinite else _to_float(sums[0]),
        weight=_to_float(sums[1] + ones * _UNIT),
        items=int(state[_ITEMS]),
        rows=finite + infinite + invalid,
        invalid=invalid,
    )


def _to_float(number: int) -> float:
    """The float64 nearest to an integer number of units; past the largest, ``inf``."""
    try:
        return number / _UNIT  # of integers, so correctly rounded
    except OverflowError:
        return math.inf
