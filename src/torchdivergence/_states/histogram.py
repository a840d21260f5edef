"""A histogram of all rows with one bin per bfloat16 number, from which quantiles are read.

A number is counted in the bin of the first 16 bits of its float32. Histograms merge by addition, minimum and maximum by
taking the more extreme one. A quantile is off by 2**-8 of itself at most (from 1.2e-38 to 3.4e38 in size); minimum and
maximum are exact.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from torchdivergence._states.part import Part, RowBatch

BINS = 1 << 15
"""Bins of the non-negative numbers."""
_EXTREMA = 2  # integers for minimum and maximum, coded so that the larger one is the more extreme
_INF = 0x7F800000  # bits of a float32
_NONE = torch.iinfo(torch.int64).min
_LARGEST = torch.finfo(torch.float32).max


class Distribution:
    """What a histogram knows of the numbers that were counted."""

    def __init__(self, counts: Tensor, extrema: Tensor) -> None:
        self.counts = counts.cpu()
        self.total = int(self.counts.sum())
        self.infinite = int(self.counts[-BINS + (_INF >> 16)])
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
        lower, counts = _edges(self.counts.device)[:-1], self.counts[-BINS:]
        reached = counts.flip(0).cumsum(0).flip(0)
        (bins,) = ((counts > 0) & (lower > 0) & lower.isfinite()).nonzero(as_tuple=True)
        if not len(bins):
            return [], []
        last = _edges(self.counts.device)[bins[-1] + 1].item()
        numbers = [*lower[bins].tolist(), min(last, self.maximum)]
        return numbers, [*(reached[bins].double() / self.total).tolist(), max(1, self.infinite) / self.total]

    def _order_statistic(self, place: int) -> float:
        """The number at a place in ascending order, from 0 on."""
        if place in (0, self.total - 1):
            return self.maximum if place else self.minimum
        found = int(torch.searchsorted(self._cumulated, place, right=True))
        negative = found < len(self.counts) - BINS
        lower = BINS - 1 - found if negative else found - (len(self.counts) - BINS)
        low, high = map(float, _edges(self.counts.device)[lower : lower + 2].tolist())
        high = min(high, 2.0**128)  # where float32 ends
        size = low if math.isinf(low) or not low else 2 * (low / (low + high) * high)
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
            numbers = batch.columns[self.column]
            kept = (batch.valid_weights > 0) & ~numbers.isnan()
            update_histogram_(state[: self._bins], state[self._bins :], numbers, kept)

    def merge(self, states: Tensor) -> Tensor:
        """Add the counts, and keep the more extreme extrema."""
        return torch.cat([states[:, : self._bins].sum(0), states[:, self._bins :].amax(0)])

    def read(self, state: Tensor) -> Distribution:
        """The distribution of the numbers."""
        return Distribution(state[: self._bins], state[self._bins :])


def update_histogram_(counts: Tensor, extrema: Tensor, numbers: Tensor, kept: Tensor) -> None:
    """Count numbers, in place.

    Args:
        counts: ``[2 * BINS]``, or ``[BINS]`` if no number is negative.
        extrema: Minimum and maximum, coded.
        numbers: Float64; not NaN where they are kept.
        kept: Bool, of the same shape: which of them count.
    """
    numbers, kept = numbers.flatten(), kept.flatten()
    size = numbers.abs()
    narrow = torch.where(size.isinf(), size, size.clamp(max=_LARGEST)).float()
    bins = (narrow.view(torch.int32) >> 16).long().masked_fill_(~kept, 0)
    if len(counts) > BINS:
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


def _edges(device: torch.device) -> Tensor:
    """Lower edge of each bin of non-negative numbers, and the upper edge of the last; infinite from infinity on."""
    bits = torch.arange(BINS + 1, device=device, dtype=torch.int64) << 16
    return bits.clamp(max=_INF).int().view(torch.float32).double()
