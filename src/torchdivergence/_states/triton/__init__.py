"""States on a GPU: kernels in Triton that write the same integers as the code in torch, in place, by few launches.

Each function does all that can fail before its kernel writes to a state.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import triton
from torch import Tensor

from torchdivergence._states.triton import counts, weights
from torchdivergence._states.triton.cluster_sums import cluster_sums as _cluster_sums
from torchdivergence._states.triton.moments import moments
from torchdivergence._states.triton.row_totals import row_totals
from torchdivergence._states.triton.superaccumulator import accumulate as _accumulate

_PROGRAM = 1024  # rows of a program
_UNITS = 256  # rows or clusters of a program, whose products are four numbers each
_LANES = 64  # rows that a program of cluster sums reads at a time
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


def launch(kernel: Any, grid: tuple[int, ...], written: Tensor, *args: object) -> None:
    """Launch a kernel on the device of the tensor to which it writes, its first argument."""
    with torch.cuda.device_of(written):
        kernel[grid](written, *args, **_OPTIONS)


def _programs(rows: int) -> tuple[int]:
    return (max(1, triton.cdiv(rows, _PROGRAM)),)


def accumulate(accumulators: Tensor, values: Tensor) -> None:
    """See :func:`torchdivergence._states.superaccumulator.accumulate_`."""
    values = values.contiguous()
    if values.numel():
        grid = triton.cdiv(values.shape[1], _PROGRAM), len(values)
        launch(_accumulate, grid, accumulators, values, values.shape[1], _PROGRAM)


def accumulate_totals(state: Tensor, values: Tensor, given: Tensor | None, items: int) -> None:
    """See :class:`torchdivergence._states.row_totals.RowTotals`."""
    values, given = values.contiguous(), given if given is None else given.contiguous()
    known = values if given is None else given
    args = state, values, known, values.numel(), items, given is not None, _PROGRAM
    launch(row_totals, _programs(values.numel()), *args)


def valid_weights(values: Tensor, given: Tensor | None) -> Tensor:
    """The weights, 0 for invalid rows: see :class:`torchdivergence._states.part.RowBatch`."""
    values, given = values.contiguous(), given if given is None else given.contiguous()
    valid = torch.empty_like(values)
    if valid.numel():
        args = valid, values, values if given is None else given, valid.numel(), given is not None, _PROGRAM
        launch(weights.valid_weights, _programs(valid.numel()), *args)
    return valid


def count_invalid(state: Tensor, values: Tensor, given: Tensor | None) -> None:
    """See :class:`torchdivergence._states.part.InvalidCount`."""
    values, given = values.contiguous(), given if given is None else given.contiguous()
    if values.numel():
        args = state, values, values if given is None else given, values.numel(), given is not None, _PROGRAM
        launch(weights.count_invalid, _programs(values.numel()), *args)


def accumulate_histogram(state: Tensor, numbers: Tensor, valid: Tensor, signed: bool) -> None:
    """See :func:`torchdivergence._states.histogram.update_histogram_`."""
    if numbers.numel():
        grid = _programs(numbers.numel())
        launch(counts.histogram, grid, state, numbers, valid, numbers.numel(), signed, _PROGRAM)


def accumulate_contingency(state: Tensor, first: Tensor, second: Tensor, valid: Tensor) -> None:
    """See :class:`torchdivergence._states.contingency.ContingencyTable`."""
    if valid.numel():
        grid = _programs(valid.numel())
        launch(counts.contingency, grid, state, first, second, valid, valid.numel(), _PROGRAM)


def cluster_sums(columns: Tensor, valid: Tensor, shape: tuple[int, int, int], ends: Sequence[int]) -> Tensor:
    """Sums over each cluster in each range, ``[ranges, columns + 1, clusters]``: of the columns and of the weights.

    Args:
        columns: Float64, ``[columns, *batch]``, contiguous.
        valid: The weights, ``[*batch]``, contiguous.
        shape: Number of clusters, of blocks in a cluster, and of positions in a block.
        ends: The first position after each range.
    """
    clusters, blocks, positions = shape
    ranges = bisect_left(ends, positions) + 1
    sums = columns.new_empty(ranges, len(columns) + 1, clusters)
    lanes = min(_LANES, triton.next_power_of_2(max(1, blocks * positions)))
    at_once = _LANES // lanes
    if sums.numel():
        grid = triton.cdiv(clusters, at_once), ranges, len(columns) + 1
        args = sums, columns, valid, _on_device(tuple(ends), columns.device), len(columns), *shape
        sizes = at_once, lanes, lanes.bit_length() - 1
        launch(_cluster_sums, grid, *args, *sizes)
    return sums


def accumulate_moments(
    states: Tensor, columns: Tensor, valid: Tensor, shape: tuple[int, int, int], ends: Sequence[int], signed: bool
) -> None:
    """See :meth:`torchdivergence._states.moments.Moments.accumulate_ranges_`."""
    sums = cluster_sums(columns, valid, shape, ends)
    clusters, blocks, positions = shape
    bounds = (0, *(end for end in ends if end < positions), positions)
    widest = max(end - first for first, end in pairwise(bounds))
    units = max(clusters * blocks * widest, clusters)
    if units:
        signs = 2 if signed else 1
        accumulators = 3 + (signs + 2 * (1 + signs)) * len(columns)
        grid = triton.cdiv(units, _UNITS), len(sums), accumulators
        args = states, columns, valid, sums, _on_device(tuple(ends), columns.device), len(columns), *shape
        launch(moments, grid, *args, signed, _UNITS)


@cache
def _on_device(ends: tuple[int, ...], device: torch.device) -> Tensor:
    """The ends of ranges, copied to a device once."""
    return torch.tensor(ends, dtype=torch.int64, device=device)
