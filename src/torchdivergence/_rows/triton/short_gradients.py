"""The kernel for gradients of rows of few classes: several rows a program, each read once and kept in registers."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.log_gradients import (
    FROM_SUMS,
    HEAVY,
    compare,
    log_gradient,
    row_settings,
    row_summands,
    scaled,
)
from torchdivergence._rows.triton.normalizers import saved_masses, shares
from torchdivergence._rows.triton.numbers import widen
from torchdivergence._rows.triton.pairs import LARGEST, at_least
from torchdivergence._rows.triton.weights import GRADIENT_SHAPES, load, log_weight, row_offset


@triton.jit
def _mass(a, log2_rate):
    """The largest log-weight of each row, and the logarithm of the mass relative to it, over the rate."""
    top = tl.max(a, 1)
    mass = tl.sum(tl.exp2((a - top[:, None]) * log2_rate), 1)
    return top, tl.log2(mass.to(tl.float64)) / widen(log2_rate)


@triton.jit
def _store(
    pointer, inside, KIND: tl.constexpr, IS_LOG: tl.constexpr, LIMIT: tl.constexpr,
    delta, gap, own, diff, log_own, log_other, no_own, no_other, mean, factor, parameter,
):  # fmt: skip
    """Store the gradients of one side."""
    above = mean
    if KIND >= FROM_SUMS:
        x, y = row_summands(KIND, delta, gap, own, diff, log_own, log_other, parameter)
        mean, above = tl.sum(x, 1), tl.sum(y, 1)
    gradient = log_gradient(
        KIND, IS_LOG, delta, gap, own, diff, log_own, log_other, no_own, no_other,
        mean[:, None], above[:, None], parameter,
    )  # fmt: skip
    part = gradient if IS_LOG else tl.where(own == 0, 0.0, own * gradient)
    is_heavy = own > HEAVY
    others = -tl.sum(tl.where(is_heavy, 0.0, part), 1)[:, None]
    gradient = tl.where(is_heavy, others if IS_LOG else others / own, gradient)
    x = scaled(gradient, factor[:, None], LIMIT)
    tl.store(pointer, x.to(pointer.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=GRADIENT_SHAPES)
def short_gradients(
    p, q, grad_p, grad_q, means, outer, log_masses, rows, size_1, size_2,
    p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    grad_p_stride_0, grad_p_stride_1, grad_p_stride_2, grad_q_stride_0, grad_q_stride_1, grad_q_stride_2,
    p_stride, q_stride, grad_p_stride, grad_q_stride, classes,
    rate, rate_low, log2_rate, scale_p, scale_q, parameter_p, parameter_q,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr, P_KIND: tl.constexpr, Q_KIND: tl.constexpr,
    LIMIT_P: tl.constexpr, LIMIT_Q: tl.constexpr, R: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * R + tl.arange(0, R)
    index = tl.arange(0, N)[None, :]
    wide = index.to(tl.int64)
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, 1)[:, None] + wide * p_stride
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, 1)[:, None] + wide * q_stride
    at_p = row_offset(row, size_1, size_2, grad_p_stride_0, grad_p_stride_1, grad_p_stride_2, 1)
    at_q = row_offset(row, size_1, size_2, grad_q_stride_0, grad_q_stride_1, grad_q_stride_2, 1)
    inside = tl.where((row < rows)[:, None], index, classes)
    a, a_low = log_weight(load(p, inside, classes, LOG_P, True), LOG_P)
    b, b_low = log_weight(load(q, inside, classes, LOG_Q, True), LOG_Q)
    row = tl.minimum(row, rows - 1).to(tl.int64)
    log_a, log_b, lost = saved_masses(log_masses, rows, row, rate, rate_low)
    if tl.max(lost.to(tl.int32), 0) > 0:
        top_a, fresh_a = _mass(a, log2_rate)
        top_b, fresh_b = _mass(b, log2_rate)
        a, b = tl.where(lost[:, None], a - top_a[:, None], a), tl.where(lost[:, None], b - top_b[:, None], b)
        log_a, log_b = tl.where(lost, fresh_a, log_a), tl.where(lost, fresh_b, log_b)
    a, b = at_least(a, -LARGEST), at_least(b, -LARGEST)
    shift, shift_low, base_a, base_b, factor_a, factor_b = shares(log_a, log_b, log2_rate)
    delta, gap, x, y, diff, log_x, log_y = compare(
        a, a_low, b, b_low, shift[:, None], shift_low[:, None], base_a[:, None], base_b[:, None],
        factor_a[:, None], factor_b[:, None], rate, log2_rate, LOG_P, LOG_Q, SCALED,
    )  # fmt: skip
    no_p, no_q = a == -LARGEST, b == -LARGEST
    if P_KIND >= 0:
        mean, factor = row_settings(means, outer, row, scale_p, log_a, LOG_P)
        _store(
            grad_p + at_p[:, None] + wide * grad_p_stride, inside < classes, P_KIND, LOG_P, LIMIT_P,
            delta, gap, x, diff, log_x, log_y, no_p, no_q, mean, factor, parameter_p,
        )  # fmt: skip
    if Q_KIND >= 0:
        mean, factor = row_settings(means, outer, row, scale_q, log_b, LOG_Q)
        _store(
            grad_q + at_q[:, None] + wide * grad_q_stride, inside < classes, Q_KIND, LOG_Q, LIMIT_Q,
            -delta, gap, y, -diff, log_y, log_x, no_q, no_p, mean, factor, parameter_q,
        )  # fmt: skip
