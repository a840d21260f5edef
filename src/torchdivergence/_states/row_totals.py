"""Exact totals over rows, from which means and sums are made."""

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from torchdivergence._layout import WIDTH
from torchdivergence._states.kernels import gpu_kernels_for
from torchdivergence._states.part import Part, RowBatch, weighted
from torchdivergence._states.superaccumulator import accumulate_, read, round_to_float, units_of

_Number = TypeVar("_Number")


class Totals(NamedTuple):
    """Totals over the rows of a state."""

    value: float
    """Sum of weight * value over the valid rows; ``inf`` if one of them is."""
    weight: float
    """Sum of the weights of the valid rows."""
    items: int
    """Number of items along the first batch dimension."""
    invalid: int
    """Number of rows of positive weight whose value is NaN."""


class RowTotals(Part[Totals]):
    """The sums of weight * value and of the weights, each in an accumulator, and the number of items.

    Weights are accumulated for rows that came with one; other rows are counted by the first accumulator.
    """

    size = 2 * WIDTH + 1
    is_added_at_once = True

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        """Add the rows of a batch."""
        values, weights = batch.values, batch.weights
        if kernels := gpu_kernels_for(state, values):
            kernels.accumulate_totals(state, values, weights, batch.items)
            return
        state[-1].add_(batch.items)
        if weights is None:
            accumulate_(state[:WIDTH].view(1, WIDTH), values.reshape(1, -1))
            return
        products = weighted(values, weights)
        kept = weights.masked_fill(products.isnan(), math.nan)
        accumulate_(state[:-1].view(2, WIDTH), torch.stack([products.flatten(), kept.flatten()]))

    def read(self, state: Tensor) -> Totals:
        """The totals. This waits for the device."""
        state = state.cpu()
        values, weights = read(state[:WIDTH]), read(state[WIDTH:-1])
        unweighted = values.finite + values.infinite - weights.finite  # valid rows that came without a weight
        return Totals(
            value=values.value,
            weight=round_to_float(weights.units + units_of(unweighted)),
            items=int(state[-1]),
            invalid=values.invalid,
        )


def divisor(reduction: str, weight: _Number, items: int) -> _Number | int:
    """What the sum over rows is divided by."""
    if reduction == "mean":
        return weight
    return items if reduction == "batchmean" else 1


def reduce(totals: Totals, reduction: str, log_base: float) -> float:
    """The reduced value: NaN if a row is invalid, or if there is nothing to divide by."""
    by = divisor(reduction, totals.weight, totals.items)
    if totals.invalid or by == 0:
        return math.nan
    return totals.value / by / log_base
