"""A 2 x 2 contingency table: counts of rows by the signs of two columns."""

from typing import NamedTuple

from torch import Tensor

from torchdivergence._states.kernels import kernels_for
from torchdivergence._states.part import Part, RowBatch


class Counts(NamedTuple):
    """How many rows have both columns positive, only the first, only the second, and neither."""

    both: int
    first: int
    second: int
    neither: int


class ContingencyTable(Part[Counts]):
    """The number of rows of positive weight in each cell. A batch that lacks the columns is left out."""

    size = len(Counts._fields)

    def __init__(self, first: str, second: str) -> None:
        self.columns = first, second

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Count the rows of a batch; each counts once, whatever its weight."""
        if not batch.columns.keys() >= set(self.columns):
            return
        first, second = (batch.columns[name].contiguous() for name in self.columns)
        weights = batch.valid_weights.contiguous()
        if kernels := kernels_for(state, first, second, weights):
            kernels.accumulate_contingency(state, first, second, weights)
            return
        cells = 3 - 2 * (first > 0).flatten().long() - (second > 0).flatten().long()
        state.index_add_(0, cells, (weights > 0).flatten().long())

    def read(self, state: Tensor) -> Counts:
        """The counts."""
        return Counts(*state.tolist())
