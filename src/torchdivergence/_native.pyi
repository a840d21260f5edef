"""The C extension: src/native/module.c.

It reads and writes memory at the addresses that it is given. All arguments are checked before any memory is touched: a
wrong one raises a ValueError or a TypeError. It cannot check that the memory at an address is as large as shape and
strides say.
"""

from typing import Final, TypedDict

class _Layout(TypedDict):
    interface: int
    """Version of the signatures, codes and layouts of this module."""
    limb_bits: int
    limbs: int
    width: int
    """Number of int64 in an accumulator: the limbs, and how many values were finite, infinite and NaN."""
    octaves: tuple[int, int, int, int]
    """Powers of two between which a histogram has coarse, fine and again coarse bins."""
    bin_bits: tuple[int, int]
    """Bits of the mantissa that choose a coarse and a fine bin."""
    bins: int
    """Number of bins of non-negative numbers."""
    dtypes: dict[str, int]
    """Code of each dtype."""
    columns: tuple[str, ...]
    """Names of the columns of rows with a target."""
    max_dims: int
    """Largest number of batch dimensions."""
    max_terms: int
    """Largest number of requests in a call."""
    terms: tuple[str, ...]
    """Names of the terms; the code of a term is its index."""

LAYOUT: Final[_Layout]

_Tensor = tuple[int, int, bool, tuple[int, ...]]
"""Address, dtype code, whether it holds logarithms, strides of the batch dimensions in elements (>= 0).

The classes are adjacent. The address may be unaligned.
"""

_TokenSide = tuple[int, int, int, bool]
"""Addresses of the weights of the targets (NaN where the target is no class), the logarithms of the normalizers and the
most likely classes, float64 ``[count]``, contiguous and aligned; whether the weights are logarithms.
"""

_Request = tuple[int, float]
"""Term code, parameter (0 for a term that has none)."""

def term_sums(
    p: _Tensor,
    q: _Tensor,
    batch: tuple[int, ...],
    classes: int,
    temperature: float,
    requests: tuple[_Request, ...],
    out: int,
    threads: int,
    /,
) -> None:
    """Write the requested term sums of every row.

    Args:
        p: A tensor ``[*batch, classes]``.
        q: Likewise.
        batch: Sizes of the batch dimensions.
        classes: Number of classes, at least 1.
        temperature: What the log-weights are divided by; it and its inverse are positive.
        requests: The terms to sum.
        out: Address of the result, float64 ``[requests, *batch]``, contiguous and aligned.
        threads: Largest number of threads to use; it does not change the result.
    """

def token_columns(p: _TokenSide, q: _TokenSide, target: int, count: int, temperature: float, out: int, /) -> None:
    """Write the columns of rows with a target.

    Args:
        p: What is known of p.
        q: Likewise.
        target: Address of the indices of the target classes, float64 ``[count]``, contiguous and aligned.
        count: Number of rows.
        temperature: Divides logits; it and its inverse are positive.
        out: Address of the result, float64 ``[columns, count]``, contiguous and aligned.
    """

def accumulate(values: int, height: int, count: int, accumulators: int, /) -> None:
    """Add non-negative (or NaN) values to accumulators.

    Args:
        values: Address of the values, float64 ``[height, count]``, contiguous.
        height: Number of accumulators.
        count: Number of values for each.
        accumulators: Address of the accumulators, int64 ``[height, width]``, contiguous and aligned.
    """

def accumulate_moments(
    values: int,
    weights: int,
    sizes: tuple[int, int, int, int],
    ends: tuple[int, ...],
    is_signed: bool,
    states: int,
    /,
) -> None:
    """Add the moments of weighted columns to one state for each range of positions.

    Args:
        values: Address of the columns, float64 of these sizes, contiguous and aligned, as are all arrays of states.
        weights: Address of the weights, float64 of all sizes but the first, >= 0.
        sizes: Numbers of columns, clusters, blocks and positions.
        ends: The first position after each range, ascending.
        is_signed: Whether a value may be negative.
        states: Address of the states, int64 ``[ranges, size]``, as :class:`Moments` describes them.
    """

def accumulate_histogram(numbers: int, weights: int, count: int, is_signed: bool, state: int, /) -> None:
    """Count the numbers of positive weight that are not NaN, and keep their extrema.

    Args:
        numbers: Address of the numbers, float64.
        weights: Address of their weights, float64.
        count: How many there are.
        is_signed: Whether there are bins of negative numbers.
        state: Address of the counts of the bins and the extrema, int64.
    """

def accumulate_contingency(first: int, second: int, weights: int, count: int, state: int, /) -> None:
    """Count the rows of positive weight by the signs of two columns.

    Args:
        first: Address of the first column, float64.
        second: Address of the second column, float64.
        weights: Address of the weights, float64.
        count: How many rows there are.
        state: Address of four counts, int64.
    """
