"""The protocol of mergeable states, and states made of named parts.

A part is a fixed number of int64 values in which a statistic of all rows is accumulated. States of disjoint sets of
rows merge into the state of their union, exactly and in any order. A new statistic is a new part. One kind of state
grows: it keeps a record of each sequence (see ``sequences``).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from torchdivergence._states.kernels import copy_of, gpu_kernels_for

FORMAT = 4
"""Version of the format of all states; part of the names under which metrics keep them."""

DIVERGENCE = "divergence"
"""Name of the column that holds the divergence of each row."""

_Result = TypeVar("_Result")


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weight * value; 0 for a row of weight zero, whatever its value."""
    return values if weights is None else values.masked_fill(weights == 0, 0.0) * weights


class RowBatch:
    """Columns of numbers, one number for each row of a batch, and the weights of the rows.

    Args:
        columns: Float64, ``[*batch]`` each. The first batch dimension counts items (such as texts).
        weights: Float64, ``[*batch]``, finite and >= 0; None for 1 each.
        items: Size of the first batch dimension; 1 for a single row.
        keys: Int64, ``[items]``: names of the items, if a part needs them.
        target: Integers, ``[*batch]``: the target of each row, if it is known.
    """

    def __init__(
        self,
        columns: Mapping[str, Tensor],
        weights: Tensor | None,
        items: int,
        keys: Tensor | None = None,
        target: Tensor | None = None,
    ) -> None:
        self.columns, self.weights, self.items = columns, weights, items
        self.keys, self.target = keys, target

    @property
    def values(self) -> Tensor:
        """The divergence of each row."""
        return self.columns[DIVERGENCE]

    @cached_property
    def invalid_rows(self) -> Tensor:
        """Bool, ``[*batch]``: rows of positive weight whose divergence is NaN, and rows whose weight is NaN."""
        if self.weights is None:
            return self.values.isnan()
        return (self.values.isnan() & (self.weights != 0)) | self.weights.isnan()

    @cached_property
    def valid_weights(self) -> Tensor:
        """The weights, 0 for invalid rows."""
        if kernels := gpu_kernels_for(self.values):
            valid: Tensor = kernels.valid_weights(self.values, self.weights)
            return valid
        given = torch.ones_like(self.values) if self.weights is None else self.weights
        return given.masked_fill(self.invalid_rows, 0.0)


class Part(ABC, Generic[_Result]):
    """A statistic of rows in a fixed number of int64 values."""

    size: int
    grows = False
    """Whether a state gets longer with every batch; it is replaced then, not written into."""
    is_added_at_once = False
    """Whether the Triton kernels add a batch by a single launch, which cannot be interrupted midway."""

    def empty(self) -> Tensor:
        """The state without any rows, ``[size]``."""
        return torch.zeros(self.size, dtype=torch.int64, device="cpu")

    @abstractmethod
    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch to a state, in place."""

    def merge(self, states: Tensor) -> Tensor:
        """The state of all rows of some states, stacked along the first dimension."""
        return states.sum(0)

    def extended(self, state: Tensor, batch: RowBatch) -> Tensor:
        """A new state: that of the rows of a state and of a batch."""
        new = copy_of(state)
        self.accumulate_(new, batch)
        return new

    def merge_all(self, states: Sequence[Tensor]) -> Tensor:
        """The state of all rows of some states, which may differ in length if this kind of state grows."""
        return self.merge(torch.stack(list(states)))

    def fits(self, length: int) -> bool:
        """Whether a state may have this length."""
        return length == self.size

    @property
    def length(self) -> str:
        """The lengths that a state may have."""
        return f"{self.size}"

    @abstractmethod
    def read(self, state: Tensor) -> _Result:
        """The statistic in plain numbers. This waits for the device."""


class InvalidCount(Part[int]):
    """The number of invalid rows."""

    size = 1

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Count the invalid rows of a batch."""
        if kernels := gpu_kernels_for(state, batch.values):
            kernels.count_invalid(state, batch.values, batch.weights)
        else:
            state += batch.invalid_rows.sum()

    def read(self, state: Tensor) -> int:
        """The count."""
        return int(state)


class NamedParts(Part[dict[str, Any]]):
    """A state that is made of parts with names."""

    def __init__(self, parts: Mapping[str, Part[Any]]) -> None:
        self.parts = dict(parts)
        self._sizes = [part.size for part in self.parts.values()]
        self.size = sum(self._sizes)

    def empty(self) -> Tensor:
        """The empty states of the parts, one after the other."""
        return torch.cat([part.empty() for part in self.parts.values()])

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch to each part."""
        for name, own in self.split(state).items():
            self.parts[name].accumulate_(own, batch)

    def merge(self, states: Tensor) -> Tensor:
        """Merge part by part."""
        split = torch.split(states, self._sizes, dim=1)
        return torch.cat([part.merge(own) for part, own in zip(self.parts.values(), split, strict=True)])

    def read(self, state: Tensor) -> dict[str, Any]:
        """The result of each part, by name."""
        return {name: self.parts[name].read(own) for name, own in self.split(state.cpu()).items()}

    def split(self, state: Tensor) -> dict[str, Tensor]:
        """Views of the parts' own states, by name; more numbers may follow them."""
        return dict(zip(self.parts, torch.split(state[: self.size], self._sizes), strict=True))
