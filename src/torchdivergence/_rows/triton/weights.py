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
def log_weight(x, IS_LOG: tl.constexpr):
    """The log-weight in two floats: -inf without mass, NaN if it is invalid.

    The logarithm of a probability must be good to 48 bits, for log(p / q) to keep its digits where it is small.
    """
    if IS_LOG:
        return x, tl.zeros_like(x)
    positive = (x > 0) & (x < INF)
    high, low = two_floats(tl.log(tl.where(positive, x, 1.0).to(tl.float64)))
    return tl.where(positive, high, tl.where(x == 0, -INF, float("nan"))), low
