"""The kernels of invalid rows: those of positive weight whose value is NaN, and those whose weight is NaN."""

import triton
import triton.language as tl

from torchdivergence._states.triton.superaccumulator import add_integer


@triton.jit
def _load(values, weights, place, inside, WEIGHTED: tl.constexpr):
    """The weights of rows, and which of them are invalid."""
    x = tl.load(values + place, mask=inside, other=0.0)
    weight = tl.full(x.shape, 1.0, tl.float64)
    if WEIGHTED:
        weight = tl.load(weights + place, mask=inside, other=0.0)
    return weight, ((x != x) & (weight != 0)) | (weight != weight)


@triton.jit(do_not_specialize=["rows"])
def valid_weights(valid, values, weights, rows, WEIGHTED: tl.constexpr, B: tl.constexpr):
    """Store the weights, 0 for invalid rows."""
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    weight, invalid = _load(values, weights, place, place < rows, WEIGHTED)
    tl.store(valid + place, tl.where(invalid, 0.0, weight), mask=place < rows)


@triton.jit(do_not_specialize=["rows"])
def count_invalid(count, values, weights, rows, WEIGHTED: tl.constexpr, B: tl.constexpr):
    """Count the invalid rows."""
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    _, invalid = _load(values, weights, place, place < rows, WEIGHTED)
    add_integer(count, tl.sum(((place < rows) & invalid).to(tl.int64), 0))
