"""Reading a long row tile by tile: eight adjacent classes for each lane."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.weights import load, load_tile, log_weight


@triton.jit
def tiles(PEELED: tl.constexpr, classes, TILE: tl.constexpr, UNIT: tl.constexpr):
    """Where the tiles start and end that are read without a mask and, if PEELED, those with one."""
    unmasked = classes // TILE * TILE if UNIT > 1 else classes * 0
    if PEELED:
        return unmasked, classes
    return classes * 0, unmasked


@triton.jit
def read(
    pointer, start, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """The log-weights of a tile in two floats."""
    return log_weight(load_tile(pointer, start, classes, stride, IS_LOG, MASKED, UNIT, T), IS_LOG)


@triton.jit
def larger_eight(top, at, x, start):
    """The largest number of each lane and the start of its first tile, after a tile ``x``."""
    top_of_eight = tl.max(x, 1)
    is_larger = top_of_eight > top
    return tl.where(is_larger, top_of_eight, top), tl.where(is_larger, at * 0 + start, at).to(tl.int32)


@triton.jit
def first_top(top, at, pointer, classes, stride, IS_LOG: tl.constexpr, T: tl.constexpr):
    """The first class of the largest number of a row, from the largest ones of the lanes and their tiles."""
    index = (at + tl.arange(0, T) * 8)[:, None] + tl.arange(0, 8)[None, :]
    x = load(pointer + index.to(tl.int64) * stride, index, classes, IS_LOG, True)
    return tl.min(tl.min(tl.where(x == tl.max(top, 0), index, 0x7FFFFFFF), 1), 0)
