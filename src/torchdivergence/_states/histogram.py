"""The distribution of numbers over rows, as counts. It does not know what the numbers are.

There is a count for each bfloat16: a number is counted where its first 16 bits as a float32 are. Counts of two states
are added, whatever their rows. A number that is read back is off by 2**-8 of itself at most (if it is from 1.2e-38 to
3.4e38 in size); the smallest and the largest are kept as they are.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

BINS = 1 << 15
LIMITS = 2
"""How many integers keep the smallest and the largest number; of two states, each is the larger."""

_INF = 0x7F800000  # the bits of a float32
_NONE = torch.iinfo(torch.int64).min
_LARGEST = torch.finfo(torch.float32).max


def no_limits() -> Tensor:
    """The limits of no numbers."""
    return torch.full((LIMITS,), _NONE)


def count_(counts: Tensor, limits: Tensor, numbers: Tensor, kept: Tensor) -> None:
    """Write numbers into counts, ``[2 * BINS]`` or, if none is negative, ``[BINS]``, and into limits, ``[LIMITS]``.

    Args:
        counts: How often each bin has been met.
        limits: The smallest and the largest number, coded.
        numbers: Float64, no NaN where they are kept.
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
        ranks = _rank(numbers)
        both = torch.stack([~ranks, ranks]).masked_fill_(~kept, _NONE)
        limits.copy_(torch.maximum(limits, both.amax(1)))


def _rank(numbers: Tensor) -> Tensor:
    """Integers in the order of the numbers, one for each float64."""
    bits = (numbers + 0.0).view(torch.int64)  # -0.0 + 0.0 is 0.0
    return torch.where(bits < 0, bits ^ torch.iinfo(torch.int64).max, bits)


def _number(rank: int) -> float:
    bits = rank ^ torch.iinfo(torch.int64).max if rank < 0 else rank
    (number,) = torch.tensor([bits]).view(torch.float64).tolist()
    return float(number)


class Distribution:
    """What counts and limits say of the numbers that went in."""

    def __init__(self, counts: Tensor, limits: Tensor) -> None:
        self.counts = counts.cpu()
        self.total = int(self.counts.sum())
        self.infinite = int(self.counts[-BINS + (_INF >> 16)])
        low, high = limits.tolist()
        self.minimum = _number(~low) if self.total else math.nan
        self.maximum = _number(high) if self.total else math.nan

    def quantile(self, q: float) -> float:
        """The q-quantile, between the two numbers next to it as numpy has it by default ("linear")."""
        if not self.total:
            return math.nan
        place = (self.total - 1) * q
        before = math.floor(place)
        low, high = self._in_order(before), self._in_order(min(before + 1, self.total - 1))
        share = place - before
        return low if share == 0 or low == high else (1 - share) * low + share * high

    def histogram(self, bins: int = 32) -> tuple[list[float], list[float], list[int]]:
        """Lower and upper edges, and counts, of the finite numbers from 3e-39 on, with so many bins joined to one."""
        edges = _edges(self.counts.device)
        positive = self.counts[-BINS:]
        joined = positive.view(-1, bins).sum(1)
        (met,) = joined.nonzero(as_tuple=True)
        met = met[(met > 0) & edges[met * bins].isfinite()]
        return edges[met * bins].tolist(), edges[(met + 1) * bins].tolist(), joined[met].tolist()

    def _in_order(self, place: int) -> float:
        """The number in this place of the order, from 0 on."""
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


def _edges(device: torch.device) -> Tensor:
    """Where each bin of numbers >= 0 begins, and where the last one ends, in float64; of infinity on, infinite."""
    bits = torch.arange(BINS + 1, device=device, dtype=torch.int64) << 16
    return bits.clamp(max=_INF).int().view(torch.float32).double()
