"""The kernel for the columns of rows with a target class: its losses and probabilities, and whether it is most likely.

:mod:`torchdivergence._rows.tokens` defines the columns, and has the same code in torch.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.pairs import at_least
from torchdivergence._rows.triton.weights import SHAPES, row_offset


@triton.jit
def _loss(x, log_mass, temperature, IS_LOG: tl.constexpr):
    """-log of the probability of an element, NaN where that is NaN."""
    return at_least(log_mass - (x / temperature if IS_LOG else tl.log(x)), 0.0)


@triton.jit
def _expm1(x):
    """exp(x) - 1 for ``|x| < 1``: the rounding error of exp(x) cancels in a quotient (W. Kahan)."""
    u = tl.exp(x)
    return tl.where(u == 1, x, (u - 1) * (x / tl.log(tl.where(u == 1, 2.0, u))))


@triton.jit
def _difference(loss_p, loss_q, log_ratio):
    """exp(-loss_q) - exp(-loss_p), without cancellation where they are close."""
    p, q = tl.exp(-loss_p), tl.exp(-loss_q)
    near = tl.abs(log_ratio) < 1
    return tl.where(near, p * _expm1(tl.where(near, -log_ratio, 0.0)), q - p)


@triton.jit
def _store(column, row, rows, x):
    """Store a column, and return the address of the next one."""
    tl.store(column + row, x.to(tl.float64), mask=row < rows)
    return column + rows


@triton.jit(do_not_specialize=[*SHAPES, "temperature"])
def token_columns(
    values, p, q, target, log_mass_p, log_mass_q, top_p, top_q,
    rows, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    p_stride, q_stride, classes, temperature, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Write ``values[columns, rows]``. The temperature comes as the bits of a float64: Triton would round it."""
    row = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    inside = row < rows
    t = tl.load(target + row, mask=inside, other=-1).to(tl.int64)
    is_class = inside & (t >= 0) & (t < classes)
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, 1) + t * p_stride
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, 1) + t * q_stride
    x_p = tl.where(is_class, tl.load(p, mask=is_class, other=0).to(tl.float64), float("nan"))
    x_q = tl.where(is_class, tl.load(q, mask=is_class, other=0).to(tl.float64), float("nan"))
    divisor = temperature.to(tl.float64, bitcast=True)
    loss_p = _loss(x_p, tl.load(log_mass_p + row, mask=inside, other=0.0), divisor, LOG_P)
    loss_q = _loss(x_q, tl.load(log_mass_q + row, mask=inside, other=0.0), divisor, LOG_Q)
    log_ratio = loss_q - loss_p
    delta = _difference(loss_p, loss_q, log_ratio)
    column = _store(values, row, rows, loss_p)
    column = _store(column, row, rows, loss_q)
    column = _store(column, row, rows, log_ratio)
    column = _store(column, row, rows, delta)
    column = _store(column, row, rows, delta * delta)

    first_p, first_q = tl.load(top_p + row, mask=inside, other=0.0), tl.load(top_q + row, mask=inside, other=0.0)
    of_p, of_q = (first_p == t.to(tl.float64)).to(tl.int32), (first_q == t.to(tl.float64)).to(tl.int32)
    column = _store(column, row, rows, of_p)
    column = _store(column, row, rows, of_q)
    column = _store(column, row, rows, of_q - of_p)
    column = _store(column, row, rows, of_p & of_q)
    column = _store(column, row, rows, of_p & (1 - of_q))
    column = _store(column, row, rows, of_q & (1 - of_p))
    _store(column, row, rows, (1 - of_p) & (1 - of_q) & (first_p != first_q).to(tl.int32))
