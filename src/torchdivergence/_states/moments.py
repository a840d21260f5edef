"""Means of columns over rows with their standard errors, from exact sums.

Rows have weights, and they come in clusters (a text, whose tokens are the rows). With W and S = W x summed over each of
n units, rows or clusters, the mean is m = sum S / sum W, and its variance

    n / (n - 1) * sum((S - m W)**2) / sum(W)**2.

For rows of weight 1 this is the textbook's s**2 / n; for clusters it is the cluster-robust variance CR1 (A. C. Cameron
and D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum. Resour. 50 (2015), section II). The sums
of S S, S W and W W have 100 bits and more, so that nothing is lost where the variance is far below the square of the
mean. Squares outside the range of float64 make an error NaN.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._layout import WIDTH
from torchdivergence._states.kernels import gpu_kernels_for, kernels_for
from torchdivergence._states.part import Part, RowBatch, weighted
from torchdivergence._states.superaccumulator import Sum, accumulate_, read

ALL_POSITIONS = (1 << 62,)
"""The end of the only range, which holds every position."""
_HIGH_BITS = -1 << 27  # of a float64: sign, exponent and the upper half of the mantissa


class Estimate(NamedTuple):
    """A mean over rows, or a function of means, with two standard errors."""

    value: float
    standard_error: float
    """Valid if rows are independent."""
    clustered_standard_error: float
    """Valid if clusters are independent; rows within a cluster may depend on each other."""

    def scaled(self, slope: float, value: float) -> "Estimate":
        """Another value, whose errors are these times the absolute slope (the delta method)."""
        return Estimate(value, self.standard_error * abs(slope), self.clustered_standard_error * abs(slope))


class Means(NamedTuple):
    """The means of some columns, and how many rows and clusters of positive weight there are."""

    estimates: dict[str, Estimate]
    rows: int
    clusters: int
    effective_clusters: float
    """(sum W)**2 / sum W**2 with the weights W of the clusters: their number if all are equal, else less."""


class Moments(Part[Means]):
    """First and second moments of some columns, over rows and over clusters.

    The clusters are the items of the first batch dimension. A batch that lacks the columns is left out.

    Args:
        columns: Names of the columns.
        signed: Whether a number may be negative; otherwise the state is smaller.
    """

    def __init__(self, columns: Sequence[str], signed: bool = True) -> None:
        self.columns, self.signed = tuple(columns), signed
        signs = 2 if signed else 1
        first, second = 1 + signs * len(self.columns), 1 + (1 + signs) * len(self.columns)
        self._accumulators = first, second, second  # first moments, second moments over rows, and over clusters
        self.size = sum(self._accumulators) * WIDTH + 2

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch."""
        if batch.columns.keys() >= set(self.columns):
            items, rows = batch.valid_weights.shape[:1].numel(), batch.valid_weights.shape[1:].numel()
            self.accumulate_ranges_(state.unsqueeze(0), batch, (items, 1, rows), ALL_POSITIONS)

    def accumulate_ranges_(
        self, states: Tensor, batch: RowBatch, shape: tuple[int, int, int], ends: tuple[int, ...]
    ) -> None:
        """Add the rows of a batch that has the columns, in place, to one state for each range of positions.

        Args:
            states: ``[ranges, size]``.
            batch: The rows.
            shape: Number of clusters, of blocks in a cluster, and of positions in a block.
            ends: The first position after each range; the first range begins at 0, the others where one ends, and the
                last one ends at 2**62.
        """
        columns, weights = stacked([batch.columns[name] for name in self.columns]), batch.valid_weights.contiguous()
        if kernels := kernels_for(states, columns, weights):
            kernels.accumulate_moments(states, columns, weights, shape, ends, self.signed)
            return
        columns, weights = columns.view(len(columns), *shape), weights.view(shape)
        for state, first, end in zip(states, (0, *ends), ends, strict=False):
            if first < max(1, shape[-1]):
                self._accumulate_range_(state, columns[..., first:end], weights[..., first:end])

    def _accumulate_range_(self, state: Tensor, columns: Tensor, weights: Tensor) -> None:
        products = torch.where(weights == 0, 0.0, columns * weights)
        first, *second = self._split(state)
        of_rows = products.reshape(len(products), -1), weights.reshape(-1)
        signs = [of_rows[0].clamp(min=0), (-of_rows[0]).clamp(min=0)] if self.signed else [of_rows[0]]
        accumulate_(first, torch.cat([of_rows[1][None], *signs]))
        units = of_rows, _sums_of_clusters(products.flatten(2), weights.flatten(1))
        for count, accumulators, (x, w) in zip(state[-2:], second, units, strict=True):
            accumulate_(accumulators, _second_moments(x, w, self.signed))
            count += (w > 0).sum()

    def read(self, state: Tensor) -> Means:
        """The mean of each column with its errors."""
        first, *second = ([read(accumulator) for accumulator in part] for part in self._split(state))
        rows, clusters = self.counts(state)
        estimates = {
            name: self._estimate(column, first, second, (rows, clusters)) for column, name in enumerate(self.columns)
        }
        return Means(estimates, rows, clusters, _effective_number(first[0], second[1][0]))

    def counts(self, state: Tensor) -> tuple[int, int]:
        """How many rows and how many clusters of positive weight there are."""
        rows, clusters = state[-2:].tolist()
        return rows, clusters

    def _estimate(self, column: int, first: list[Sum], second: list[list[Sum]], counts: tuple[int, int]) -> Estimate:
        weight, positive, *negative = first[0], *first[1 + column :: len(self.columns)]
        if not weight.units:
            return Estimate(math.nan, math.nan, math.nan)
        if any(x.infinite or x.invalid for x in (positive, *negative)):
            value = math.nan if positive.invalid else positive.value - sum(x.value for x in negative)
            return Estimate(value, math.nan, math.nan)
        mean = Fraction(positive.units - sum(x.units for x in negative), weight.units)
        errors = []
        for sums, count in zip(second, counts, strict=True):
            needed = [sums[0], *sums[1 + column :: len(self.columns)]]
            known = count > 1 and sums[0].units and not any(x.infinite or x.invalid for x in needed)
            errors.append(_root(_variance(needed, mean, weight.exact, count)) if known else math.nan)
        return Estimate(float(mean), *errors)

    def _split(self, state: Tensor) -> list[Tensor]:
        return [part.view(-1, WIDTH) for part in torch.split(state[:-2], [WIDTH * n for n in self._accumulators])]


def _variance(sums: list[Sum], mean: Fraction, weight: Fraction, count: int) -> Fraction:
    """Variance of a weighted mean over units, from the sums of W W, S S, and of S W, or of both its signs."""
    ww, ss, sw, *negative_sw = (x.exact for x in sums)
    squares = ss - 2 * mean * (sw - sum(negative_sw)) + mean**2 * ww
    return squares / weight**2 * Fraction(count, count - 1)


def _effective_number(weight: Sum, squares: Sum) -> float:
    known = squares.units and not squares.infinite
    return float(weight.exact**2 / squares.exact) if known else math.nan


def _root(variance: Fraction) -> float:
    try:
        return math.sqrt(max(float(variance), 0.0))
    except OverflowError:
        return math.inf


def stacked(columns: Sequence[Tensor]) -> Tensor:
    """Columns in one tensor, contiguous, ``[columns, *batch]``: a view of those that follow each other in memory."""
    if len(columns) == 1:
        return columns[0].contiguous().unsqueeze(0)
    if not _are_neighbors(columns):
        return torch.stack(list(columns))
    first = columns[0]
    return first.as_strided((len(columns), *first.shape), (first.numel(), *first.stride()), first.storage_offset())


def _are_neighbors(columns: Sequence[Tensor]) -> bool:
    """Whether each column begins where the one before it ends, in the same memory."""
    memory, start, length = columns[0].untyped_storage().data_ptr(), columns[0].storage_offset(), columns[0].numel()
    return all(
        x.is_contiguous() and x.untyped_storage().data_ptr() == memory and x.storage_offset() == start + place * length
        for place, x in enumerate(columns)
    )


def cluster_sums(columns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over each cluster, of weighted columns ``[columns, clusters, rows]`` and of weights ``[clusters, rows]``.

    Rows of weight zero (padding) do not change a bit.
    """
    if kernels := gpu_kernels_for(columns, weights):
        shape = len(weights), 1, weights.shape[1]
        sums = kernels.cluster_sums(columns.contiguous(), weights.contiguous(), shape, ALL_POSITIONS)[0]
        return sums[:-1], sums[-1]
    return _sums_of_clusters(weighted(columns, weights), weights)


def _sums_of_clusters(products: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    if not weights.numel():
        return products.new_zeros(products.shape[:-1]), weights.new_zeros(len(weights))
    kept_first = (weights == 0).byte().argsort(dim=-1, stable=True)
    sums = _pairwise_sums(products.gather(-1, kept_first.expand_as(products)))
    return sums, _pairwise_sums(weights.gather(-1, kept_first))


def _pairwise_sums(x: Tensor) -> Tensor:
    """Sum along the last dimension by pairs of neighbors: zeros at the end do not change a bit."""
    while x.shape[-1] > 1:
        x = torch.nn.functional.pad(x, (0, x.shape[-1] % 2))
        x = x[..., 0::2] + x[..., 1::2]
    return x.squeeze(-1)


def _second_moments(x: Tensor, w: Tensor, signed: bool) -> Tensor:
    """Summands of W W, of S S, and of S W, or of its positive and its negative part, for each column."""
    w, size = w.expand_as(x), x.abs()
    sw = _exact_products(size, w)
    parts = [sw]
    if signed:
        positive = (x > 0).repeat(1, 4)
        parts = [sw * positive, sw * ~positive]
    return torch.cat([_exact_products(w, w)[:1], _exact_products(size, size), *parts])


def _exact_products(x: Tensor, y: Tensor) -> Tensor:
    """Four numbers whose sum is the product of two, up to 2**-106 of it: ``[columns, 4 * units]``."""
    halves = []
    for number in (x, y):
        high = (number.contiguous().view(torch.int64) & _HIGH_BITS).view(torch.float64)
        halves.append((high, number - high))
    return torch.cat([a * b for a in halves[0] for b in halves[1]], -1)
