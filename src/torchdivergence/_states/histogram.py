"""A histogram of all rows, from which quantiles are read, with minimum and maximum.

Histograms merge by addition, minimum and maximum by taking the more extreme one. A quantile has a relative error of at
most 2**-10 if its size is from 2**-40 (9e-13) to 2**8, and of 2**-6 from 2**-167 (5e-51) to 2**136 (9e40): see
:mod:`torchdivergence._states.bins`. Minimum, maximum, zero and infinity are exact.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from torchdivergence._layout import BINS
from torchdivergence._states.bins import bin_of, edges
from torchdivergence._states.kernels import kernels_for
from torchdivergence._states.part import Part, RowBatch

_EXTREMA = 2  # integers for minimum and maximum, coded so that the larger one is the more extreme
_NONE = torch.iinfo(torch.int64).min


class Distribution:
    """What a histogram knows of the numbers that were counted."""

    def __init__(self, counts: Tensor, extrema: Tensor) -> None:
        self.counts = counts.cpu()
        self.total = int(self.counts.sum())
        self.infinite = int(self.counts[-1])
        low, high = extrema.tolist()
        self.minimum = _decode(~low) if self.total else math.nan
        self.maximum = _decode(high) if self.total else math.nan

    def quantile(self, q: float) -> float:
        """The q-quantile, interpolated between order statistics like :func:`numpy.quantile` ("linear")."""
        if not self.total:
            return math.nan
        place = (self.total - 1) * q
        before = math.floor(place)
        low, high = self._order_statistic(before), self._order_statistic(min(before + 1, self.total - 1))
        share = place - before
        return low if share == 0 or low == high else (1 - share) * low + share * high

    @property
    def zeros(self) -> int:
        """How many numbers are in the bin of 0."""
        return int(self.counts[-BINS])

    def tail(self) -> tuple[list[float], list[float]]:
        """Positive finite numbers in ascending order, and the share of all numbers that are at least as large.

        Each bin that holds a number gives its lower edge. The last number is the largest one.
        """
        lower, counts = edges()[:-1], self.counts[-BINS:]
        reached = counts.flip(0).cumsum(0).flip(0)
        (bins,) = ((counts > 0) & (lower > 0) & lower.isfinite()).nonzero(as_tuple=True)
        if not len(bins):
            return [], []
        last = edges()[bins[-1] + 1].item()
        numbers = [*lower[bins].tolist(), min(last, self.maximum)]
        return numbers, [*(reached[bins].double() / self.total).tolist(), max(1, self.infinite) / self.total]

    def _order_statistic(self, place: int) -> float:
        """The number at a place in ascending order, from 0 on."""
        if place in (0, self.total - 1):
            return self.maximum if place else self.minimum
        found = int(torch.searchsorted(self._cumulated, place, right=True))
        negative = found < len(self.counts) - BINS
        lower = BINS - 1 - found if negative else found - (len(self.counts) - BINS)
        low, high = map(float, edges()[lower : lower + 2].tolist())
        size = low if math.isinf(high) or not low else 2 * (low / (low + high) * high)
        return min(max(-size if negative else size, self.minimum), self.maximum)

    @cached_property
    def _cumulated(self) -> Tensor:
        return self.counts.cumsum(0)


class Histogram(Part[Distribution]):
    """The histogram of a column, and its minimum and maximum.

    Args:
        column: Name of the column. A batch that lacks it is left out, and so are NaN and rows of weight zero.
        signed: Whether the numbers may be negative; then there are twice as many bins.
    """

    def __init__(self, column: str, signed: bool = False) -> None:
        self.column = column
        self._bins = 2 * BINS if signed else BINS
        self.size = self._bins + _EXTREMA

    def empty(self) -> Tensor:
        """Zero counts, and no extrema."""
        return torch.cat([super().empty()[: self._bins], torch.full((_EXTREMA,), _NONE, device="cpu")])

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Count the numbers of a batch."""
        if self.column in batch.columns:
            update_histogram_(state, batch.columns[self.column], batch.valid_weights, self._bins > BINS)

    def merge(self, states: Tensor) -> Tensor:
        """Add the counts, and keep the more extreme extrema."""
        return torch.cat([states[:, : self._bins].sum(0), states[:, self._bins :].amax(0)])

    def read(self, state: Tensor) -> Distribution:
        """The distribution of the numbers."""
        return Distribution(state[: self._bins], state[self._bins :])


def update_histogram_(state: Tensor, numbers: Tensor, weights: Tensor, signed: bool) -> None:
    """Count numbers of positive weight that are not NaN, in place.

    Args:
        state: The counts of the bins, and the extrema.
        numbers: Float64.
        weights: Float64, of the same shape.
        signed: Whether there are bins for negative numbers.
    """
    numbers, weights = numbers.contiguous(), weights.contiguous()
    if kernels := kernels_for(state, numbers, weights):
        kernels.accumulate_histogram(state, numbers, weights, signed)
        return
    numbers, kept = numbers.flatten(), ((weights > 0) & ~numbers.isnan()).flatten()
    counts, extrema = state[:-_EXTREMA], state[-_EXTREMA:]
    bins = bin_of(numbers.abs().view(torch.int64)).masked_fill_(~kept, 0)
    if signed:
        bins = torch.where(numbers < 0, BINS - 1 - bins, BINS + bins)
    counts.index_add_(0, bins, kept.long())
    if kept.numel():
        codes = _encode(numbers)
        both = torch.stack([~codes, codes]).masked_fill_(~kept, _NONE)
        extrema.copy_(torch.maximum(extrema, both.amax(1)))


def _encode(numbers: Tensor) -> Tensor:
    """Integers in the order of the numbers, one for each float64."""
    bits = (numbers + 0.0).view(torch.int64)  # -0.0 + 0.0 is 0.0
    return torch.where(bits < 0, bits ^ torch.iinfo(torch.int64).max, bits)


def _decode(code: int) -> float:
    bits = code ^ torch.iinfo(torch.int64).max if code < 0 else code
    (number,) = torch.tensor([bits], device="cpu").view(torch.float64).tolist()
    return float(number)
