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
    dtypes: dict[str, int]
    """Code of each dtype."""
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

def accumulate(values: int, height: int, count: int, accumulators: int, /) -> None:
    """Add non-negative (or NaN) values to accumulators.

    Args:
        values: Address of the values, float64 ``[height, count]``, contiguous.
        height: Number of accumulators.
        count: Number of values for each.
        accumulators: Address of the accumulators, int64 ``[height, width]``, contiguous and aligned.
    """
