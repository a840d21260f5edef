"""The rows of the largest value of a column, with the key, position and target of each."""

from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._states.part import Part, RowBatch

_NO_ROW = -1
"""Stands for the value of a row that is missing. The bits of numbers >= 0 are >= 0, in the order of the numbers."""
NO_TARGET = -1

WORST = "worst"
"""Name of the result that holds the rows."""


class WorstRow(NamedTuple):
    """A row of a sequence."""

    divergence: float
    key: int
    """Key of the sequence."""
    position: int
    """Index of the row in its sequence, from 0 on; several batch dimensions are flattened."""
    target: int
    """Target of the row; -1 if it has none."""


class WorstRows(Part[list[WorstRow]]):
    """The n valid rows of positive weight with the largest numbers, infinite ones first.

    Of equal numbers the one with the smaller key, then with the smaller position, counts as larger. So the order of
    the rows does not matter.

    Args:
        column: Name of the column; its numbers are NaN or >= 0.
        number: How many rows are kept.
    """

    def __init__(self, column: str, number: int) -> None:
        self.column, self._number = column, number
        self.size = len(WorstRow._fields) * number

    def empty(self) -> Tensor:
        """No rows."""
        return torch.full((self.size,), _NO_ROW, dtype=torch.int64, device="cpu")

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Replace rows by larger ones of a batch."""
        assert batch.keys is not None
        numbers = batch.columns[self.column]
        items = numbers.reshape(len(batch.keys), -1 if numbers.numel() else 0)
        keys = batch.keys[:, None].expand(items.shape)
        positions = torch.arange(items.shape[1], device=items.device).expand(items.shape)
        target = torch.full_like(keys, NO_TARGET) if batch.target is None else batch.target.reshape(items.shape).long()
        rows = torch.stack([(items + 0.0).view(torch.int64), keys, positions, target], -1)
        ignored = batch.valid_weights.reshape(items.shape) == 0
        rows = rows.masked_fill(ignored[..., None], _NO_ROW)
        state.copy_(self._largest(torch.cat([self._table(state), self._table(rows)])))

    def merge(self, states: Tensor) -> Tensor:
        """The largest rows of all."""
        return self._largest(self._table(states))

    def read(self, state: Tensor) -> list[WorstRow]:
        """The rows, the largest first."""
        values, *others = self._table(state).T.contiguous()
        numbers = values.view(torch.float64).tolist()
        rows = zip(values.tolist(), numbers, *(x.tolist() for x in others), strict=True)
        return [WorstRow(*row) for value, *row in rows if value != _NO_ROW]

    @staticmethod
    def _table(states: Tensor) -> Tensor:
        return states.reshape(-1, len(WorstRow._fields))

    def _largest(self, table: Tensor) -> Tensor:
        """The first n rows by value, descending, and then by key, position and target."""
        for column in (3, 2, 1):
            table = table[table[:, column].argsort(stable=True)]
        order = table[:, 0].argsort(descending=True, stable=True)
        return table[order[: self._number]].flatten()
