"""The kernels that count rows: a histogram of a column with its extrema, and a table of the signs of two columns."""

import triton
import triton.language as tl

from torchdivergence._layout import BINS, COARSE_BITS, FINE_BITS, OCTAVES
from torchdivergence._states.triton.superaccumulator import add_integer

_BINS = tl.constexpr(BINS)
_COARSE_SHIFT = tl.constexpr(52 - COARSE_BITS)
_FINE_SHIFT = tl.constexpr(52 - FINE_BITS)
_RATIO = tl.constexpr(1 << FINE_BITS - COARSE_BITS)
_START, _LOW, _HIGH, _LAST = (tl.constexpr((1023 + octave) << COARSE_BITS) for octave in OCTAVES)
_SIZE_MASK = tl.constexpr((1 << 63) - 1)
_INF_BITS = tl.constexpr(0x7FF << 52)
_NONE = tl.constexpr(-(1 << 63))


@triton.jit
def _limited(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def _bin_of(bits):
    """See :func:`torchdivergence._states.bins.bin_of`."""
    coarse, fine = bits >> _COARSE_SHIFT, bits >> _FINE_SHIFT
    extra = _limited(fine, _RATIO * _LOW, _RATIO * _HIGH) - _limited(coarse, _LOW, _HIGH) - (_RATIO - 1) * _LOW
    place = _limited(coarse, _START - 1, _LAST) - (_START - 1) + extra
    return place + (bits > 0).to(tl.int64) + (bits >= _INF_BITS).to(tl.int64)


@triton.jit(do_not_specialize=["rows"])
def histogram(state, numbers, weights, rows, SIGNED: tl.constexpr, B: tl.constexpr):
    """Count numbers of positive weight that are not NaN, and keep the extrema."""
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    x = tl.load(numbers + place, mask=place < rows, other=0.0)
    kept = (tl.load(weights + place, mask=place < rows, other=0.0) > 0) & (x == x)
    bits = x.to(tl.int64, bitcast=True)
    size = bits & _SIZE_MASK
    negative = (bits < 0) & (size > 0)
    bins = state + (_BINS if SIGNED else 0)
    found = _bin_of(size)
    if SIGNED:
        found = tl.where(negative, -1 - found, found)
    zero = kept & (found == 0)  # the bin that may hold most of the rows
    add_integer(bins, tl.sum(zero.to(tl.int64), 0))
    tl.atomic_add(bins + found, tl.full([B], 1, tl.int64), mask=kept & (found != 0), sem="relaxed")
    code = tl.where(negative, -1 - size, size)
    low, high = tl.max(tl.where(kept, -1 - code, _NONE), 0), tl.max(tl.where(kept, code, _NONE), 0)
    tl.atomic_max(bins + _BINS, low, mask=low != _NONE, sem="relaxed")
    tl.atomic_max(bins + _BINS + 1, high, mask=high != _NONE, sem="relaxed")


@triton.jit(do_not_specialize=["rows"])
def contingency(state, first, second, weights, rows, B: tl.constexpr):
    """Count rows of positive weight by the signs of two columns."""
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    x = tl.load(first + place, mask=place < rows, other=0.0) > 0
    y = tl.load(second + place, mask=place < rows, other=0.0) > 0
    kept = tl.load(weights + place, mask=place < rows, other=0.0) > 0
    cell = 3 - 2 * x.to(tl.int32) - y.to(tl.int32)
    for k in tl.static_range(4):
        add_integer(state + k, tl.sum((kept & (cell == k)).to(tl.int64), 0))
