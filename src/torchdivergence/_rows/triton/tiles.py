"""Reading and writing a long row tile by tile: eight adjacent classes for each lane."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.weights import load, log_weight


@triton.jit
def tiles(PEELED: tl.constexpr, classes, TILE: tl.constexpr, UNIT: tl.constexpr):
    """Where the tiles start and end that are read without a mask and, if PEELED, those with one."""
    unmasked = classes // TILE * TILE if UNIT > 1 else classes * 0
    if PEELED:
        return unmasked, classes
    return classes * 0, unmasked


@triton.jit
def load_tile(
    pointer, start, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """Adjacent classes, 8 for each of T lanes: ``[T, 8]``, in the order 0 4 1 5 2 6 3 7 however they are read.

    UNIT is how many numbers are read at once: 8, 4 or 1.
    """
    first = start + tl.arange(0, T) * 8
    if UNIT == 8:
        index = first[:, None] + tl.arange(0, 8)[None, :]
        x = load(pointer + index, index, classes, IS_LOG, MASKED)
        return tl.reshape(tl.permute(tl.reshape(x, [T, 2, 4]), [0, 2, 1]), [T, 8])
    if UNIT == 4:
        index = first[:, None] + tl.arange(0, 4)[None, :]
        near = load(pointer + index, index, classes, IS_LOG, MASKED)
        far = load(pointer + index + 4, index + 4, classes, IS_LOG, MASKED)
        return tl.reshape(tl.join(near, far), [T, 8])
    near = _load_four(pointer, first, classes, stride, IS_LOG, MASKED)
    far = _load_four(pointer, first + 4, classes, stride, IS_LOG, MASKED)
    return tl.reshape(tl.join(near, far), [T, 8])


@triton.jit
def _load_four(pointer, first, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr):
    at = pointer + first.to(tl.int64) * stride
    x0 = load(at, first, classes, IS_LOG, MASKED)
    x1 = load(at + stride, first + 1, classes, IS_LOG, MASKED)
    x2 = load(at + 2 * stride, first + 2, classes, IS_LOG, MASKED)
    x3 = load(at + 3 * stride, first + 3, classes, IS_LOG, MASKED)
    return tl.join(tl.join(x0, x2), tl.join(x1, x3))


@triton.jit
def read(
    pointer, start, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """The log-weights of a tile in two floats."""
    return log_weight(load_tile(pointer, start, classes, stride, IS_LOG, MASKED, UNIT, T), IS_LOG)


@triton.jit
def store_tile(
    pointer, x, start, classes, stride, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """Store numbers that are in the order of :func:`load_tile`."""
    first = start + tl.arange(0, T)[:, None] * 8
    x = tl.reshape(x.to(pointer.dtype.element_ty), [T, 4, 2])
    if UNIT == 8:
        index = first + tl.arange(0, 8)[None, :]
        _store(pointer + index, tl.reshape(tl.permute(x, [0, 2, 1]), [T, 8]), index, classes, MASKED)
    else:
        near, far = tl.split(x)
        index = first + tl.arange(0, 4)[None, :]
        if UNIT == 4:
            _store(pointer + index, near, index, classes, MASKED)
            _store(pointer + index + 4, far, index + 4, classes, MASKED)
        else:
            at = pointer + index.to(tl.int64) * stride
            _store(at, near, index, classes, MASKED)
            _store(at + 4 * stride, far, index + 4, classes, MASKED)


@triton.jit
def _store(pointer, x, index, classes, MASKED: tl.constexpr):
    if MASKED:
        tl.store(pointer, x, mask=index < classes)
    else:
        tl.store(pointer, x)


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
