"""The profile of a column: its mean by position in the sequence, in four bins per octave, from exact sums."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._layout import WIDTH
from torchdivergence._states.moments import Estimate
from torchdivergence._states.part import Part, RowBatch, weighted
from torchdivergence._states.superaccumulator import accumulate_, read

_OCTAVES = 24  # positions past 2**24 count with the last
_BINS_PER_OCTAVE = 4
_BINS = _OCTAVES * _BINS_PER_OCTAVE


class PositionBin(NamedTuple):
    """The mean over some positions, ``first`` to ``last``, counted from 0."""

    first: int
    last: int
    mean: Estimate
    sequences: float
    """Effective number of sequences in the bin."""
    rows: int
    """Number of rows of positive weight."""


class Profile(Part[list[PositionBin]]):
    """The mean of a column by position. Positions lie along the last batch dimension, if there are two or more."""

    size = 2 * _BINS * WIDTH

    def __init__(self, column: str) -> None:
        self.column = column

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch."""
        values, weights = batch.columns[self.column], batch.valid_weights
        if values.dim() < 2 or not values.numel():
            return
        bins = state.view(_BINS, 2, WIDTH)
        both = torch.stack([weighted(values, weights), weights]).reshape(2, -1, values.shape[-1])
        first = 0
        while first < values.shape[-1]:
            place = _bin_of(first)
            end = _end_of(place)
            accumulate_(bins[place], both[..., first:end].reshape(2, -1))
            first = end

    def read(self, state: Tensor) -> list[PositionBin]:
        """The means of the bins that hold a row of positive weight."""
        found = []
        first = 0
        for place, (values, weights) in enumerate(state.view(_BINS, 2, WIDTH).unbind()):
            end = _end_of(place)
            if end > first:
                value, weight = read(values), read(weights)
                if weight.units:
                    mean = Estimate(value.value / weight.value, math.nan, math.nan)
                    found.append(PositionBin(first, end - 1, mean, math.nan, 0))
            first = max(first, end)
        return found


def _bin_of(position: int) -> int:
    """The bin of a position: from position + 1, the exponent and two more bits."""
    mantissa, exponent = math.frexp(position + 1)
    return min((exponent - 1) * _BINS_PER_OCTAVE + int((2 * mantissa - 1) * _BINS_PER_OCTAVE), _BINS - 1)


def _end_of(place: int) -> int:
    """The first position after a bin; the last bin has no end."""
    octave, part = divmod(place + 1, _BINS_PER_OCTAVE)
    return math.ceil(2**octave * (1 + part / _BINS_PER_OCTAVE)) - 1 if place < _BINS - 1 else 1 << 62
