"""The profile of a column: its mean by position in the sequence, in four bins per octave, with errors."""

import math
from typing import NamedTuple

from torch import Tensor

from torchdivergence._states.moments import ALL_POSITIONS, Estimate, Moments
from torchdivergence._states.part import Part, RowBatch

_OCTAVES, _BINS_PER_OCTAVE = 24, 4
_STARTS = sorted(
    {math.ceil(2**octave * (1 + part / _BINS_PER_OCTAVE)) - 1 for octave in range(_OCTAVES) for part in range(4)}
)
_ENDS = (*_STARTS[1:], *ALL_POSITIONS)
"""The first position after each bin. Positions from 7 * 2**21 on are in the last one."""


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
    """The mean of a column of numbers >= 0 by position, with errors clustered by the items of the first dimension.

    Positions lie along the last batch dimension, if there are two or more.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._moments = Moments([column], signed=False)
        self.size = len(_ENDS) * self._moments.size

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch."""
        values = batch.columns[self.column]
        if values.dim() < 2 or not values.numel():
            return
        shape = len(values), values.shape[1:-1].numel(), values.shape[-1]
        self._moments.accumulate_ranges_(self._by_bin(state), batch, shape, _ENDS)

    def read(self, state: Tensor) -> list[PositionBin]:
        """The means of the bins that hold a row of positive weight."""
        found = []
        for first, end, own in zip(_STARTS, _ENDS, self._by_bin(state), strict=True):
            if self._moments.counts(own)[0]:
                means = self._moments.read(own)
                mean = means.estimates[self.column]
                found.append(PositionBin(first, end - 1, mean, means.effective_clusters, means.rows))
        return found

    def _by_bin(self, state: Tensor) -> Tensor:
        return state.view(len(_ENDS), self._moments.size)
