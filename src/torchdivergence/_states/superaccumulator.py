"""Exact sums over rows, as integers.

A non-negative float64 is an integer number of units of 2**-1074. So a sum is kept as an integer, in digits of 26 bits
that stay apart: nothing is carried until it is read (R. M. Neal, "Fast exact summation using small and large
superaccumulators", arXiv:1505.05571). Integers add associatively: the state is the same, bit for bit, for every order
and every split of the rows, two states merge by ``+``, and the sum that is read from a state is the correctly rounded
one, that of :func:`math.fsum`.

A number adds less than 2**26 to a digit, so int64 has room for 2**37 (1.4e11) of the worst.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._extension import native, opaque

_DIGIT = 26
_DIGITS = 81  # 81 * 26 bits reach past the largest float64
_MASK = (1 << _DIGIT) - 1
_FRACTION = 52  # mantissa bits that a float64 stores
_INF = 0x7FF << _FRACTION  # the bits of +inf; those of a NaN are larger
_UNIT = 1 << 1074
_ROOM = 1 << 63 - _DIGIT
_PIECE = 1 << 16  # numbers that are added at a time, for what they need meanwhile

BANK = _DIGITS + 3
"""The length of a bank, which holds one sum: its digits, and how many numbers were finite, infinite and NaN."""

# The state of a metric is one vector: the bank of weight * value of every row, that of the weights of those rows that
# came with one, the number of items, and the number of rows of weight zero.
_ITEMS, _WEIGHTLESS = 2 * BANK, 2 * BANK + 1


class Sum(NamedTuple):
    """What a bank says of the numbers that went in."""

    units: int
    """The sum of the finite ones, in units of 2**-1074."""
    finite: int
    infinite: int
    invalid: int

    @property
    def exact(self) -> Fraction:
        """The sum of the finite ones."""
        return Fraction(self.units, _UNIT)

    @property
    def value(self) -> float:
        """The float64 nearest to the sum of all that are no NaN; ``inf`` past the largest."""
        if self.infinite:
            return math.inf
        try:
            return self.units / _UNIT  # of integers, so correctly rounded
        except OverflowError:
            return math.inf


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
    return torch.zeros(_WEIGHTLESS + 1, dtype=torch.int64, device=device)


def weigh(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weight * value; a row of weight zero is left out, whatever its value: it counts as 0."""
    return values if weights is None else torch.where(weights == 0, 0.0, values * weights)


@opaque
def add(state: Tensor, values: Tensor, weights: Tensor | None, items: int) -> Tensor:
    """A new state: the given one and these rows.

    Args:
        state: A state; it is not changed.
        values: Float64, one value >= 0 (or NaN) a row.
        weights: Float64 of the same shape, finite and >= 0; None for 1 each.
        items: Number of items along the first batch dimension.
    """
    state = state.clone()
    state[_ITEMS].add_(items)
    if weights is None:
        add_(state[:BANK].view(1, BANK), values.reshape(1, -1))
        return state
    weighed = weigh(values, weights)
    kept = weights.masked_fill(weighed.isnan(), math.nan)
    add_(state[:_ITEMS].view(2, BANK), torch.stack([weighed.flatten(), kept.flatten()]))
    state[_WEIGHTLESS].add_((weights == 0).sum())
    return state


def add_(banks: Tensor, numbers: Tensor) -> None:
    """Write numbers, ``[banks, numbers]`` in float64 and >= 0 (or NaN), into the sums of banks, ``[banks, BANK]``."""
    if native and banks.device.type == "cpu":
        numbers = numbers.contiguous()
        native.accumulate(numbers.data_ptr(), *numbers.shape, banks.data_ptr())
    else:
        for part in torch.split(numbers, _PIECE, dim=1):
            _add_(banks, part)


def _add_(banks: Tensor, numbers: Tensor) -> None:
    bits = numbers.abs().view(torch.int64)  # abs: a NaN may carry a sign
    special = (bits >= _INF).long()
    normal = (bits >> _FRACTION > 0).long()
    mantissa = ((bits & (1 << _FRACTION) - 1) + (normal << _FRACTION)) * (1 - special)
    exponent = ((bits >> _FRACTION) - normal) * (1 - special)
    digit, shift = exponent // _DIGIT, exponent % _DIGIT
    parts = (mantissa << shift) & _MASK, (mantissa >> _DIGIT - shift) & _MASK, mantissa >> 2 * _DIGIT - shift
    places = torch.stack([digit, digit + 1, digit + 2, _DIGITS + special + (bits > _INF)], dim=1)
    amounts = torch.stack([*parts, torch.ones_like(bits)], dim=1)
    banks.scatter_add_(1, places.flatten(1), amounts.flatten(1))


def read(bank: Tensor) -> Sum:
    """Read a bank; this waits for the device."""
    *digits, finite, infinite, invalid = bank.tolist()
    if not 0 <= finite + infinite + invalid <= _ROOM:
        raise OverflowError(
            f"a sum has room for {_ROOM:,} numbers, and more came in: what the metric holds is lost. Reset it sooner."
        )
    units = sum(digit << _DIGIT * place for place, digit in enumerate(digits) if digit)
    return Sum(units, finite, infinite, invalid)


@opaque
def totals(state: Tensor) -> Totals:
    """Read a state; this waits for the device."""
    state = state.cpu()
    values, weights = read(state[:BANK]), read(state[BANK:_ITEMS])
    items, weightless = state[_ITEMS:].tolist()
    ones = values.finite + values.infinite - weights.finite  # the valid rows that came without a weight
    return Totals(
        value=values.value,
        weight=weights._replace(units=weights.units + ones * _UNIT).value,
        items=items,
        rows=values.finite + values.infinite + values.invalid - weightless,
        invalid=values.invalid,
    )
