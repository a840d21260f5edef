"""The kernel of :class:`torchdivergence._states.moments.Moments`, over rows and over clusters, in ranges of positions.

A unit is a row or a cluster. It has a weight W and for each column a product S: the weighted value, or their sum over
the rows of the cluster. A program adds what is made of some units to one accumulator of the state.
"""

import triton
import triton.language as tl

from torchdivergence._layout import WIDTH
from torchdivergence._states.triton.ranges import range_bounds, row_index
from torchdivergence._states.triton.superaccumulator import add_integer, add_numbers

_WIDTH = tl.constexpr(WIDTH)
_HIGH_BITS = tl.constexpr(-1 << 27)


@triton.jit
def _halves(x):
    high = (x.to(tl.int64, bitcast=True) & _HIGH_BITS).to(tl.float64, bitcast=True)
    return high, x - high


@triton.jit
def _exact_product(x, y):
    """Four numbers whose sum is the product of two, ``[B, 2, 2]``."""
    x_high, x_low = _halves(x)
    y_high, y_low = _halves(y)
    return tl.join(tl.join(x_high * y_high, x_high * y_low), tl.join(x_low * y_high, x_low * y_low))


@triton.jit(do_not_specialize=["columns", "clusters", "blocks", "positions"])
def moments(
    states, values, weights, sums, ends, columns, clusters, blocks, positions, SIGNED: tl.constexpr, B: tl.constexpr
):
    """Add B units to an accumulator: the one at a place in the state of a range, by the indices of the program."""
    part, accumulator = tl.program_id(1).to(tl.int64), tl.program_id(2)
    SIGNS: tl.constexpr = 2 if SIGNED else 1
    firsts, seconds = 1 + SIGNS * columns, 1 + (1 + SIGNS) * columns
    of_clusters = (accumulator >= firsts + seconds).to(tl.int32)
    # W or W W comes first; then each kind has a place for each column: S by sign, or S S and S W by sign
    place = tl.where(accumulator < firsts, accumulator, accumulator - firsts - of_clusters * seconds)
    kind = (place + columns - 1) // columns
    column = tl.where(place > 0, (place - 1) % columns, 0).to(tl.int64)

    first, width = range_bounds(ends, part, positions)
    count = tl.where(of_clusters > 0, clusters, clusters * blocks * width)
    unit = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    inside = unit < count
    if of_clusters > 0:
        of_range = sums + part * (columns + 1) * clusters + unit
        weight = tl.load(of_range + columns * clusters, mask=inside, other=0.0)
        product = tl.load(of_range + column * clusters, mask=inside, other=0.0)
    else:
        rows = tl.maximum(blocks * width, 1)
        index = row_index(unit // rows, unit % rows, first, width, blocks, positions)
        weight = tl.load(weights + index, mask=inside, other=0.0)
        value = tl.load(values + column * clusters * blocks * positions + index, mask=inside, other=0.0)
        product = tl.where(weight == 0, 0.0, value * weight)

    positive = product > 0
    size = tl.where(kind == 0, weight, tl.abs(product))
    state = states + part * ((firsts + 2 * seconds) * _WIDTH + 2)
    if tl.program_id(0) * B < count:
        if accumulator < firsts:
            if SIGNED:
                size = tl.where(((kind == 1) & (product < 0)) | ((kind == 2) & positive), 0.0, size)
            add_numbers(state + accumulator * _WIDTH, size, inside)
        else:
            parts = _exact_product(size, tl.where(kind == 1, size, weight))
            if SIGNED:
                other_sign = ((kind == 2) & (positive == 0)) | ((kind == 3) & positive)
                parts *= tl.where(other_sign, 0.0, 1.0)[:, None, None]
            inside_four_times = tl.reshape(tl.join(tl.join(unit, unit), tl.join(unit, unit)), [4 * B]) < count
            add_numbers(state + accumulator * _WIDTH, tl.reshape(parts, [4 * B]), inside_four_times)
            if place == 0:
                counts = state + (firsts + 2 * seconds) * _WIDTH
                add_integer(counts + of_clusters, tl.sum((inside & (weight > 0)).to(tl.int64), 0))
