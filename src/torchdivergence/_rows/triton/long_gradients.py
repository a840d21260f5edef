"""The kernel for gradients of rows of many classes: a program a row, tile by tile.

The normalizers and the value come from the forward pass, so each logit is read once, and each derivative is stored
once. Where a sum over the classes does not follow from the value, another reading comes first.
"""

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
from torchdivergence._rows.triton.numbers import INF, add_eights, add_lanes, two_sum, widen
from torchdivergence._rows.triton.pairs import LARGEST, at_least
from torchdivergence._rows.triton.tiles import read, store_tile, tiles
from torchdivergence._rows.triton.weights import GRADIENT_SHAPES, row_offset


@triton.jit
def _add(high, low, x):
    """Add eight numbers each, of any sign, to sums in two floats."""
    high, rest = two_sum(high, add_eights(x))
    return high, low + rest


@triton.jit
def _mass(pointer, stride, classes, log2_rate, IS_LOG: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr):
    """The largest log-weight, and the logarithm of the mass relative to it, over the rate."""
    tops, mass, mass_low = tl.full([T], -INF, tl.float32), tl.zeros([T], tl.float32), tl.zeros([T], tl.float32)
    for start in range(0, classes, 8 * T):
        a, _ = read(pointer, start, classes, stride, IS_LOG, True, UNIT, T)
        tops = tl.maximum(tops, tl.max(a, 1))
    top = tl.max(tops, 0)
    for start in range(0, classes, 8 * T):
        a, _ = read(pointer, start, classes, stride, IS_LOG, True, UNIT, T)
        mass, mass_low = _add(mass, mass_low, tl.exp2((a - top) * log2_rate))
    return top, tl.log2(add_lanes(mass, mass_low)) / widen(log2_rate)


@triton.jit
def _sums(
    p, q, p_stride, q_stride, classes, low_a, low_b, shift, shift_low, base_a, base_b, factor_a, factor_b,
    rate, log2_rate, parameter_p, parameter_q, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    P_KIND: tl.constexpr, Q_KIND: tl.constexpr, UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """The sums of p and of q of :func:`row_summands`."""
    none = tl.zeros([T], tl.float32)
    p_1, p_1_low, p_2, p_2_low, q_1, q_1_low, q_2, q_2_low = none, none, none, none, none, none, none, none
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            a, a_low = read(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            b, b_low = read(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            a, b = at_least(a - low_a, -LARGEST), at_least(b - low_b, -LARGEST)
            delta, gap, p_share, q_share, diff, log_p, log_q = compare(
                a, a_low, b, b_low, shift, shift_low, base_a, base_b, factor_a, factor_b, rate, log2_rate,
                LOG_P, LOG_Q, SCALED,
            )  # fmt: skip
            if P_KIND >= 0:
                x, y = row_summands(P_KIND, delta, gap, p_share, diff, log_p, log_q, parameter_p)
                p_1, p_1_low = _add(p_1, p_1_low, x)
                p_2, p_2_low = _add(p_2, p_2_low, y)
            if Q_KIND >= 0:
                x, y = row_summands(Q_KIND, -delta, gap, q_share, -diff, log_q, log_p, parameter_q)
                q_1, q_1_low = _add(q_1, q_1_low, x)
                q_2, q_2_low = _add(q_2, q_2_low, y)
    return (
        add_lanes(p_1, p_1_low).to(tl.float32),
        add_lanes(p_2, p_2_low).to(tl.float32),
        add_lanes(q_1, q_1_low).to(tl.float32),
        add_lanes(q_2, q_2_low).to(tl.float32),
    )


@triton.jit
def _note(heavy, weight, others, others_low, gradient, own, start, IS_LOG: tl.constexpr, T: tl.constexpr):
    """Keep the place and the probability of the heavy class, and the sum of the derivatives of all others."""
    place = (start + tl.arange(0, T)[:, None] * 8 + (tl.arange(0, 8) % 2 * 4 + tl.arange(0, 8) // 2)[None, :]).to(
        tl.int32
    )
    is_heavy = own > HEAVY
    if not IS_LOG:
        gradient = tl.where(own == 0, 0.0, own * gradient)
        weight = tl.maximum(weight, tl.max(own, 1))
    others, others_low = _add(others, others_low, tl.where(is_heavy, 0.0, gradient))
    heavy = tl.maximum(heavy, tl.max(tl.where(is_heavy, place, -1), 1))
    return heavy, weight, others, others_low


@triton.jit
def _store_heavy(pointer, stride, heavy, weight, others, others_low, scale, IS_LOG: tl.constexpr, LIMIT: tl.constexpr):
    place = tl.max(heavy, 0)
    gradient = -add_lanes(others, others_low).to(tl.float32)
    if not IS_LOG:
        gradient /= tl.max(weight, 0)
    x = scaled(gradient, scale, LIMIT)
    tl.store(pointer + place.to(tl.int64) * stride, x.to(pointer.dtype.element_ty), mask=place >= 0)


@triton.jit(do_not_specialize=GRADIENT_SHAPES)
def long_gradients(
    p, q, grad_p, grad_q, means, outer, log_masses, rows, size_1, size_2,
    p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    grad_p_stride_0, grad_p_stride_1, grad_p_stride_2, grad_q_stride_0, grad_q_stride_1, grad_q_stride_2,
    p_stride, q_stride, grad_p_stride, grad_q_stride, classes,
    rate, rate_low, log2_rate, scale_p, scale_q, parameter_p, parameter_q,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr, P_KIND: tl.constexpr, Q_KIND: tl.constexpr,
    LIMIT_P: tl.constexpr, LIMIT_Q: tl.constexpr, UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, UNIT_P)
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, UNIT_Q)
    grad_p += row_offset(row, size_1, size_2, grad_p_stride_0, grad_p_stride_1, grad_p_stride_2, UNIT_P)
    grad_q += row_offset(row, size_1, size_2, grad_q_stride_0, grad_q_stride_1, grad_q_stride_2, UNIT_Q)
    low_a, low_b = tl.full((), 0.0, tl.float32), tl.full((), 0.0, tl.float32)
    log_a, log_b, lost = saved_masses(log_masses, rows, row, rate, rate_low)
    if lost:
        low_a, log_a = _mass(p, p_stride, classes, log2_rate, LOG_P, UNIT_P, T)
        low_b, log_b = _mass(q, q_stride, classes, log2_rate, LOG_Q, UNIT_Q, T)
    shift, shift_low, base_a, base_b, factor_a, factor_b = shares(log_a, log_b, log2_rate)
    mean_p, p_scale = row_settings(means, outer, row, scale_p, log_a, LOG_P)
    mean_q, q_scale = row_settings(means, outer, row, scale_q, log_b, LOG_Q)
    above_p, above_q = mean_p, mean_q
    if (P_KIND >= FROM_SUMS) | (Q_KIND >= FROM_SUMS):
        mean_p, above_p, mean_q, above_q = _sums(
            p, q, p_stride, q_stride, classes, low_a, low_b, shift, shift_low, base_a, base_b, factor_a, factor_b,
            rate, log2_rate, parameter_p, parameter_q, LOG_P, LOG_Q, SCALED, P_KIND, Q_KIND, UNIT_P, UNIT_Q, T,
        )  # fmt: skip
    none, nowhere = tl.zeros([T], tl.float32), tl.full([T], -1, tl.int32)
    heavy_p, weight_p, others_p, others_p_low = nowhere, none, none, none
    heavy_q, weight_q, others_q, others_q_low = nowhere, none, none, none
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            a, a_low = read(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            b, b_low = read(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            a, b = at_least(a - low_a, -LARGEST), at_least(b - low_b, -LARGEST)
            delta, gap, x, y, diff, log_x, log_y = compare(
                a, a_low, b, b_low, shift, shift_low, base_a, base_b, factor_a, factor_b, rate, log2_rate,
                LOG_P, LOG_Q, SCALED,
            )  # fmt: skip
            no_p, no_q = a == -LARGEST, b == -LARGEST
            if P_KIND >= 0:
                gradient = log_gradient(
                    P_KIND, LOG_P, delta, gap, x, diff, log_x, log_y, no_p, no_q, mean_p, above_p, parameter_p
                )
                store_tile(grad_p, scaled(gradient, p_scale, LIMIT_P), start, classes, grad_p_stride, PEELED, UNIT_P, T)
                heavy_p, weight_p, others_p, others_p_low = _note(
                    heavy_p, weight_p, others_p, others_p_low, gradient, x, start, LOG_P, T
                )
            if Q_KIND >= 0:
                gradient = log_gradient(
                    Q_KIND, LOG_Q, -delta, gap, y, -diff, log_y, log_x, no_q, no_p, mean_q, above_q, parameter_q
                )
                store_tile(grad_q, scaled(gradient, q_scale, LIMIT_Q), start, classes, grad_q_stride, PEELED, UNIT_Q, T)
                heavy_q, weight_q, others_q, others_q_low = _note(
                    heavy_q, weight_q, others_q, others_q_low, gradient, y, start, LOG_Q, T
                )
    tl.debug_barrier()  # the heavy class was stored with the others
    if P_KIND >= 0:
        _store_heavy(grad_p, grad_p_stride, heavy_p, weight_p, others_p, others_p_low, p_scale, LOG_P, LIMIT_P)
    if Q_KIND >= 0:
        _store_heavy(grad_q, grad_q_stride, heavy_q, weight_q, others_q, others_q_low, q_scale, LOG_Q, LIMIT_Q)
