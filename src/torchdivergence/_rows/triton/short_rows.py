"""The kernel for rows of few classes: several rows a program, each read once and kept in registers.

The largest log-weights are exact here. A guess of the difference of the log-normalizers gives a second value, which is
accurate enough for the Kullback-Leibler divergence, and that gives a third one, which is accurate enough for all terms.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.normalizers import probability_base, share_factor, whole_base
from torchdivergence._rows.triton.numbers import INF, LN2, LOG2E, log, log1p, log_excess, two_sum, widen
from torchdivergence._rows.triton.pairs import (
    FAR,
    LARGEST,
    at_least,
    bounded_log_ratio,
    exponent,
    larger_weight,
    ratio_functions,
)
from torchdivergence._rows.triton.powers import (
    alpha_summand,
    least_unit,
    log_power,
    power_factors,
    steps,
    unscaled_power,
    whole_unit,
)
from torchdivergence._rows.triton.results import store_first_terms, store_other_terms, store_powers
from torchdivergence._rows.triton.summands import summands
from torchdivergence._rows.triton.weights import SHAPES, load, log_weight, row_offset

_UNIT = tl.constexpr(20)
"""Weights are in units of 2**20: then products with FINFO_MIN have a sum."""


@triton.jit
def _top(x):
    """The largest log-weight of each row, of which none is above 0 in size if it is far; and what was taken off."""
    top = tl.max(tl.where(x != x, INF, x), 1)
    invalid = tl.abs(top) == INF
    low = tl.where((tl.abs(top) > FAR) & (invalid == 0), top, 0.0)
    return tl.where(invalid, 0.0, top - low), low, invalid


@triton.jit
def _first_top(x, index, N: tl.constexpr):
    return tl.min(tl.where(x == tl.max(x, 1)[:, None], index, N), 1)


@triton.jit
def _guess(a, a_low, b, top_a, top_b, base, rate, log2_rate, classes, LOG_P: tl.constexpr):
    """The mean difference of the log-weights under p; that of the largest ones if it is impossible."""
    weight = tl.exp2(exponent(a, a_low, base[:, None], log2_rate, LOG_P))
    apart = tl.where(tl.abs(a - b) < 0.1 * FAR, a - b, 0.0)
    mean = tl.sum(weight * apart, 1) / tl.sum(weight, 1)
    possible = tl.abs(mean - (top_a - top_b)) * rate <= tl.log(widen(classes)).to(tl.float32)
    return tl.where(possible, mean, top_a - top_b)


@triton.jit
def _compare(
    a, a_low, b, b_low, shift, shift_low, base_a, base_b, factor_a, factor_b, rate, log2_rate,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    delta = bounded_log_ratio(a, a_low, b, b_low, shift[:, None], shift_low[:, None], rate, LOG_P, LOG_Q, SCALED)
    ratio, gap, above, below = ratio_functions(tl.abs(delta))
    large = larger_weight(
        delta > 0, a, a_low, b, b_low, base_a[:, None], base_b[:, None], factor_a, factor_b[:, None],
        log2_rate, LOG_P, LOG_Q,
    )  # fmt: skip
    return delta, ratio, gap, above, below, large


@triton.jit(do_not_specialize=SHAPES)
def short_rows(
    p, q, values, rows, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    p_stride, q_stride, classes, rate, rate_low, log2_rate,
    alpha, alpha_low, beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr, R: tl.constexpr, N: tl.constexpr,
    AGAIN: tl.constexpr,
    KL: tl.constexpr, LOG_MASS_P: tl.constexpr, LOG_MASS_Q: tl.constexpr, TOP_P: tl.constexpr, TOP_Q: tl.constexpr,
    REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, SMALL_ENTROPY: tl.constexpr, SMALL_SHARE: tl.constexpr, OVERLAP: tl.constexpr,
    MASS_OF_P: tl.constexpr, CHI_SQUARED: tl.constexpr, ALPHA: tl.constexpr, LOG_POWERS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * R + tl.arange(0, R)
    index = tl.arange(0, N)[None, :]
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, 1)[:, None] + index.to(tl.int64) * p_stride
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, 1)[:, None] + index.to(tl.int64) * q_stride
    inside = tl.where((row < rows)[:, None], index, classes)
    x_p, x_q = load(p, inside, classes, LOG_P, True), load(q, inside, classes, LOG_Q, True)
    first_p, first_q = row, row
    if TOP_P >= 0:
        first_p = _first_top(x_p, index, N)
    if TOP_Q >= 0:
        first_q = _first_top(x_q, index, N)
    a, a_low = log_weight(x_p, LOG_P)
    b, b_low = log_weight(x_q, LOG_Q)
    p_alone = tl.max(((a > -INF) & (b == -INF)).to(tl.int32), 1) > 0
    q_alone = tl.max(((b > -INF) & (a == -INF)).to(tl.int32), 1) > 0
    both = tl.max(((a > -INF) & (b > -INF)).to(tl.int32), 1) > 0
    top_a, low_a, invalid_a = _top(a)
    top_b, low_b, invalid_b = _top(b)
    invalid = invalid_a | invalid_b
    a, b = at_least(a - low_a[:, None], -LARGEST), at_least(b - low_b[:, None], -LARGEST)
    base_a, base_b = whole_base(top_a, log2_rate), whole_base(top_b, log2_rate)
    shift = _guess(a, a_low, b, top_a, top_b, base_a, rate, log2_rate, classes, LOG_P)
    shift_low, kl, mass = shift * 0, shift * 0, shift * 0
    for _ in tl.static_range(2):
        factor_b = share_factor(shift, shift_low, widen(log2_rate), base_b - base_a - _UNIT)
        delta, ratio, gap, above, below, large = _compare(
            a, a_low, b, b_low, shift, shift_low, base_a, base_b, 2.0 ** -_UNIT, factor_b, rate, log2_rate,
            LOG_P, LOG_Q, SCALED,
        )  # fmt: skip
        mass = tl.sum(large * tl.where(delta > 0, 1.0, ratio), 1)
        r = tl.sum(large * tl.where(delta > 0, -gap, gap), 1) / mass
        kl = tl.maximum(tl.sum(large * tl.where(delta > 0, above, below), 1) / mass - log_excess(r), 0.0)
        shift, rest = two_sum(shift, -log1p(r) / rate)
        shift_low += rest
    log_mass, log_mass_low = log(mass)
    unit = 1 / widen(log2_rate)
    log_a = ((base_a + _UNIT).to(tl.float64) + (widen(log_mass) + log_mass_low) * LOG2E) * unit
    log_b = log_a - shift.to(tl.float64) - shift_low.to(tl.float64)
    store_first_terms(
        values, rows, row, invalid, p_alone, kl, log_a, log_b, low_a, low_b, rate, rate_low, first_p, first_q,
        KL, LOG_MASS_P, LOG_MASS_Q, TOP_P, TOP_Q,
    )  # fmt: skip
    if AGAIN:
        base_a, factor_a = probability_base(log_a, widen(log2_rate))
        base_b, factor_b = probability_base(log_b, widen(log2_rate))
        delta, ratio, gap, above, below, large = _compare(
            a, a_low, b, b_low, shift, shift_low, base_a, base_b, factor_a[:, None], factor_b, rate, log2_rate,
            LOG_P, LOG_Q, SCALED,
        )  # fmt: skip
        EXCESS: tl.constexpr = (CHI_SQUARED >= 0) | (ALPHA >= 0)
        if EXCESS or LOG_POWERS >= 0:
            of_b, of_b_low, of_ratio, of_ratio_low, log_mass, log_mass_low = power_factors(
                alpha, alpha_low, rate, rate_low, log_b
            )
            z, z_low = log_power(
                a, a_low, b, b_low, shift[:, None], shift_low[:, None], of_b, of_b_low, of_ratio, of_ratio_low,
                log_mass[:, None], log_mass_low[:, None], LOG_P, LOG_Q,
            )  # fmt: skip
            down, up, outside = steps(alpha, alpha_low)
            top = tl.max(tl.where(z == z, z, 0.0), 1)  # NaN in rows beyond the batch
            unit = whole_unit(tl.maximum(top, least_unit(outside)))
            power = unscaled_power((z - unit[:, None]) + z_low)
            scaled = large * unscaled_power(-unit * outside)[:, None]
            excess = alpha_summand(delta, tl.abs(delta), power, scaled, alpha, down, up)
            store_powers(
                values, rows, row, invalid, p_alone, q_alone, both, tl.sum(excess, 1), tl.sum(power, 1), unit,
                alpha, alpha_low, CHI_SQUARED, ALPHA, LOG_POWERS,
            )  # fmt: skip
        ENTROPY: tl.constexpr = (SMALL_ENTROPY >= 0) | (SMALL_SHARE >= 0)
        ACCEPTANCE: tl.constexpr = (OVERLAP >= 0) | (MASS_OF_P >= 0)
        small = large
        if ACCEPTANCE:
            small = larger_weight(
                delta <= 0, a, a_low, b, b_low, base_a[:, None], base_b[:, None], factor_a[:, None], factor_b[:, None],
                log2_rate, LOG_P, LOG_Q,
            )  # fmt: skip
        log2_p = exponent(a, a_low, base_a[:, None], log2_rate, LOG_P)
        log_factor = (tl.log2(factor_a) * LN2)[:, None]
        reverse, jeffreys, shannon, more_p, more_q, hellinger, light, share, overlap, mass = summands(
            delta, tl.abs(delta), ratio, gap, above, below, large, small, log2_p, log_factor,
            beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
            REVERSE_KL >= 0, JEFFREYS >= 0, JENSEN_SHANNON >= 0, TOTAL_VARIATION >= 0, SQUARED_HELLINGER >= 0,
            ENTROPY, ACCEPTANCE,
        )  # fmt: skip
        store_other_terms(
            values, rows, row, invalid, p_alone, q_alone, tl.sum(reverse, 1), tl.sum(jeffreys, 1), tl.sum(shannon, 1),
            tl.sum(more_p, 1), tl.sum(more_q, 1), tl.sum(hellinger, 1), tl.sum(light, 1), tl.sum(share, 1),
            tl.sum(overlap, 1), tl.sum(mass, 1),
            REVERSE_KL, JEFFREYS, JENSEN_SHANNON, TOTAL_VARIATION, SQUARED_HELLINGER, SMALL_ENTROPY, SMALL_SHARE,
            OVERLAP, MASS_OF_P,
        )  # fmt: skip
