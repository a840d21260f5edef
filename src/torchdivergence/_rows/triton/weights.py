"""Reading rows: logits as they are, probabilities as logarithms, in float32."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import INF, two_floats

SHAPES = (
    *("rows", "size_1", "size_2", "p_stride_0", "p_stride_1", "p_stride_2", "q_stride_0", "q_stride_1", "q_stride_2"),
    *("p_stride", "q_stride", "classes"),
)
"""Arguments of the kernels that are not compiled in, whatever their values."""
GRADIENT_SHAPES = (
    *SHAPES[:9],
    *(f"grad_{side}_stride_{dim}" for side in "pq" for dim in range(3)),
    *("p_stride", "q_stride", "grad_p_stride", "grad_q_stride", "classes"),
)
"""Those of the kernels for gradients."""


@triton.jit
def row_offset(row, size_1, size_2, stride_0, stride_1, stride_2, UNIT: tl.constexpr):
    """Offset of a row in a tensor with up to three batch dimensions, whose strides are multiples of UNIT."""
    outer, last = row // size_2, row % size_2
    steps = outer // size_1 * (stride_0 // UNIT) + outer % size_1 * (stride_1 // UNIT) + last * (stride_2 // UNIT)
    return steps * UNIT


@triton.jit
def load(pointer, index, classes, IS_LOG: tl.constexpr, MASKED: tl.constexpr):
    """Numbers at the offsets of ``index``; beyond the end of a row, a class without mass."""
    if MASKED:
        return tl.load(pointer, mask=index < classes, other=-float("inf") if IS_LOG else 0.0).to(tl.float32)
    return tl.load(pointer).to(tl.float32)


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
def log_weight(x, IS_LOG: tl.constexpr):
    """The log-weight in two floats: -inf without mass, NaN if it is invalid.

    The logarithm of a probability must be good to 48 bits, for log(p / q) to keep its digits where it is small.
    """
    if IS_LOG:
        return x, tl.zeros_like(x)
    positive = (x > 0) & (x < INF)
    high, low = two_floats(tl.log(tl.where(positive, x, 1.0).to(tl.float64)))
    return tl.where(positive, high, tl.where(x == 0, -INF, float("nan"))), low


@triton.jit
def tiles(PEELED: tl.constexpr, classes, TILE: tl.constexpr, UNIT: tl.constexpr):
    """Where the tiles start and end that are read without a mask and, if PEELED, those with one."""
    unmasked = classes // TILE * TILE if UNIT > 1 else classes * 0
    if PEELED:
        return unmasked, classes
    return classes * 0, unmasked


@triton.jit
def read_tile(
    pointer, start, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """The log-weights of :func:`load_tile`, in two floats."""
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
