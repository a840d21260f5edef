"""Means over rows with their standard errors, from exact sums. It does not know what the rows hold.

Rows are weighed, and they come in items (a text, whose tokens are the rows). With W and S = W x summed over each of n
units, rows or items, the mean is m = sum S / sum W, and its variance

    n / (n - 1) * sum((S - m W)**2) / sum(W)**2.

Of rows of weight 1 that is the textbook's s**2 / n; of items it is the cluster-robust variance CR1 (A. C. Cameron and
D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum. Resour. 50 (2015), section II). The sums of
S S, S W and W W have 100 bits and more, so that nothing is lost where the variance is far below the mean's square;
squares past the ends of float64 make an error NaN.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._rows.ordered_sums import tree_sums
from torchdivergence._states import superaccumulator as _accumulators
from torchdivergence._states.superaccumulator import BANK, Sum

_HIGH_BITS = -1 << 27  # of a float64: sign, exponent and the upper half of the mantissa


class Estimate(NamedTuple):
    """A mean over rows, with two standard errors."""

    value: float
    standard_error: float
    """If the rows are independent."""
    clustered_standard_error: float
    """If the items are independent, whatever the rows within one."""

    def scaled(self, by: float, value: float) -> "Estimate":
        """Another value, whose errors are these times a slope."""
        return Estimate(value, self.standard_error * abs(by), self.clustered_standard_error * abs(by))


class Moments:
    """The means of some columns of numbers, each with one number a row, whose weights they share."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        of_rows, of_units = 1 + 2 * columns, 1 + 3 * columns
        self._banks = of_rows, of_units, of_units
        self.size = sum(self._banks) * BANK + 2

    def add_(self, state: Tensor, numbers: Tensor, weights: Tensor) -> None:
        """Write rows into a state, ``[size]``.

        Args:
            state: What has been seen so far.
            numbers: Float64, ``[columns, *batch]``, of any sign.
            weights: Float64, ``[*batch]``; a row of weight zero is left out, whatever it holds.
        """
        weighed = torch.where(weights == 0, 0.0, numbers * weights)
        units = [(weighed.reshape(self.columns, -1), weights.reshape(-1)), _of_items(weighed, weights)]
        rows, *banks = self._split(state)
        of_rows, weights_of_rows = units[0]
        _accumulators.add_(rows, torch.cat([weights_of_rows[None], of_rows.clamp(min=0), (-of_rows).clamp(min=0)]))
        for count, bank, (x, w) in zip(state[-2:], banks, units, strict=True):
            _accumulators.add_(bank, _second(x, w))
            count += (w > 0).sum()

    def read(self, state: Tensor) -> list[Estimate]:
        """The mean of each column."""
        rows, *banks = ([_accumulators.read(bank) for bank in part] for part in self._split(state))
        counts = state[-2:].tolist()
        return [self._estimate(column, rows, banks, counts) for column in range(self.columns)]

    def counts(self, state: Tensor) -> tuple[int, int]:
        """How many rows and how many items of positive weight there are."""
        rows, items = state[-2:].tolist()
        return rows, items

    def _estimate(self, column: int, rows: list[Sum], banks: list[list[Sum]], counts: list[int]) -> Estimate:
        weight, above, below = rows[0], rows[1 + column], rows[1 + self.columns + column]
        if not weight.units:
            return Estimate(math.nan, math.nan, math.nan)
        if above.infinite or below.infinite or above.invalid:
            value = above.value - below.value if not above.invalid else math.nan
            return Estimate(value, math.nan, math.nan)
        mean = Fraction(above.units - below.units, weight.units)
        errors = []
        for sums, count in zip(banks, counts, strict=True):
            parts = sums[0], *sums[1 + column :: self.columns]
            known = count > 1 and parts[0].units and not any(part.infinite or part.invalid for part in parts)
            ww, ss, above_w, below_w = (part.exact for part in parts)
            squares = ss - 2 * mean * (above_w - below_w) + mean**2 * ww
            variance = squares / weight.exact**2 * Fraction(count, max(count - 1, 1))
            errors.append(_root(variance) if known else math.nan)
        return Estimate(float(mean), *errors)

    def _split(self, state: Tensor) -> list[Tensor]:
        return [part.view(-1, BANK) for part in torch.split(state[:-2], [BANK * banks for banks in self._banks])]


def _of_items(weighed: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over each item; rows of weight zero, such as padding, change no bit of them."""
    items = len(weights) if weights.dim() else 1
    w = weights.reshape(items, -1) if weights.numel() else weights.new_zeros(items, 1)
    x = weighed.reshape(len(weighed), *w.shape) if weights.numel() else weighed.new_zeros(len(weighed), *w.shape)
    kept_first = (w == 0).byte().argsort(dim=-1, stable=True)
    return tree_sums(x.gather(-1, kept_first.expand_as(x))), tree_sums(w.gather(-1, kept_first))


def _root(variance: Fraction) -> float:
    try:
        return math.sqrt(max(float(variance), 0.0))
    except OverflowError:
        return math.inf


def _second(x: Tensor, w: Tensor) -> Tensor:
    """The summands of sum W W, sum S S, and of the positive and the negative part of sum S W, for each column."""
    w, size, above = w.expand_as(x), x.abs(), x > 0
    xw = _products(size, w)
    above = above.repeat(1, 4)
    return torch.cat([_products(w, w)[:1], _products(size, size), xw * above, xw * ~above])


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Four numbers whose sum is the product of two, ``[columns, 4 * units]``, but for 2**-106 of it."""
    halves = []
    for number in (x, y):
        high = (number.contiguous().view(torch.int64) & _HIGH_BITS).view(torch.float64)
        halves.append((high, number - high))
    return torch.cat([a * b for a in halves[0] for b in halves[1]], -1)
