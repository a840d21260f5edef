"""The kernel for rows of many classes: a program a row, tile by tile.

The first reading gives the normalizers and the Kullback-Leibler divergence, the second all other terms. In the first,
log(p / q) is known up to the difference of the log-normalizers, of which the first tile gives a guess. With the weights
``P`` of p and ``delta`` relative to the guess::

    M = sum P,   K = sum P (exp(-delta) - 1 + delta),   r = (K - sum P delta) / M
    difference = guess - log(1 + r),   KL = K / M - (r - log(1 + r))

If the guess was far off, the last subtraction loses digits: then the row is read once more with the new difference. A
row with classes in which p and q are very different is read by :func:`_apart`, which takes the larger of p and q.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.normalizers import probability_base, share_factor, store_term, whole_base
from torchdivergence._rows.triton.numbers import (
    INF,
    LN2,
    accumulate,
    add_eights,
    add_lanes,
    log1p,
    log_excess,
    two_sum,
    widen,
)
from torchdivergence._rows.triton.pairs import (
    FAR,
    LARGEST,
    at_least,
    bounded_log_ratio,
    exponent,
    kl_excess,
    larger_weight,
    log_ratio,
    ratio_functions,
)
from torchdivergence._rows.triton.summands import summands
from torchdivergence._rows.triton.weights import SHAPES, load_tile, log_weight, row_offset

_STEEPEST = tl.constexpr(20.0)
"""The largest log-ratio in a row that is read in the fast way."""
_NO_DIGITS_LOST = tl.constexpr(1e-10)
"""A divergence below it may lose digits: then its absolute error is 1e-16."""
_UNIT = tl.constexpr(20)
"""Weights of rows with very different classes are in units of 2**20: then 1e6 products with FINFO_MIN have a sum."""
_ATTEMPTS = tl.constexpr(6)


@triton.jit
def _tiles(PEELED: tl.constexpr, classes, TILE: tl.constexpr, UNIT: tl.constexpr):
    """Where the tiles start and end that are read without a mask and, if PEELED, those with one."""
    unmasked = classes // TILE * TILE if UNIT > 1 else classes * 0
    if PEELED:
        return unmasked, classes
    return classes * 0, unmasked


@triton.jit
def _read(
    pointer, start, classes, stride, IS_LOG: tl.constexpr, MASKED: tl.constexpr, UNIT: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    return log_weight(load_tile(pointer, start, classes, stride, IS_LOG, MASKED, UNIT, T), IS_LOG)


@triton.jit
def _guess(
    p, q, p_stride, q_stride, classes, log2_rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """From the first tile: an integer base for the weights of p, and the mean difference of the log-weights under p."""
    a, a_low = _read(p, 0, classes, p_stride, LOG_P, True, UNIT_P, T)
    b, _ = _read(q, 0, classes, q_stride, LOG_Q, True, UNIT_Q, T)
    a, b = at_least(a, -FAR), at_least(b, -FAR)
    base = whole_base(tl.max(tl.max(a, 1), 0), log2_rate)
    weight = tl.exp2(exponent(a, a_low, base, log2_rate, LOG_P))
    none = tl.zeros([T], tl.float32)
    apart = tl.where(tl.abs(a - b) < 0.1 * FAR, a - b, 0.0)
    mean = add_lanes(add_eights(weight * apart), none) / add_lanes(add_eights(weight), none)
    return base, tl.where(tl.abs(mean) < FAR, mean, 0.0).to(tl.float32)


@triton.jit
def _near(
    p, q, p_stride, q_stride, classes, shift, base, rate, log2_rate,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """The sums of P, of P times its excess and of P delta; and the largest size of delta."""
    none = tl.zeros([T], tl.float32)
    mass, mass_low, kl, kl_low, mean, mean_low, top = none, none, none, none, none, none, none
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = _tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            a, a_low = _read(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            b, b_low = _read(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            a, b = at_least(a, -FAR), at_least(b, -FAR)
            delta = log_ratio(a, a_low, b, b_low, shift, 0.0, rate, LOG_P, LOG_Q, SCALED)
            weight = tl.exp2(exponent(a, a_low, base, log2_rate, LOG_P))
            mass, mass_low = accumulate(mass, mass_low, add_eights(weight))
            kl, kl_low = accumulate(kl, kl_low, add_eights(weight * kl_excess(delta)))
            mean, mean_low = accumulate(mean, mean_low, add_eights(weight * delta))
            top = tl.maximum(top, tl.max(tl.abs(delta), 1))
    return add_lanes(mass, mass_low), add_lanes(kl, kl_low), add_lanes(mean, mean_low), tl.max(top, 0)


@triton.jit
def _tops(
    p, q, p_stride, q_stride, classes, LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """The largest log-weights, infinite if one is invalid; whether a class has mass in p alone, and in q alone."""
    top_a, top_b = tl.full([T], -INF, tl.float32), tl.full([T], -INF, tl.float32)
    p_alone, q_alone = tl.zeros([T], tl.int32), tl.zeros([T], tl.int32)
    for start in range(0, classes, 8 * T):
        a, _ = _read(p, start, classes, p_stride, LOG_P, True, UNIT_P, T)
        b, _ = _read(q, start, classes, q_stride, LOG_Q, True, UNIT_Q, T)
        top_a = tl.maximum(top_a, tl.max(tl.where(a != a, INF, a), 1))
        top_b = tl.maximum(top_b, tl.max(tl.where(b != b, INF, b), 1))
        p_alone = tl.maximum(p_alone, tl.max(((a > -INF) & (b == -INF)).to(tl.int32), 1))
        q_alone = tl.maximum(q_alone, tl.max(((b > -INF) & (a == -INF)).to(tl.int32), 1))
    return tl.max(top_a, 0), tl.max(top_b, 0), tl.max(p_alone, 0) > 0, tl.max(q_alone, 0) > 0


@triton.jit
def _apart(
    p, q, p_stride, q_stride, classes, low_a, low_b, shift, shift_low, base_a, base_b, factor_a, factor_b,
    rate, log2_rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr,
    T: tl.constexpr,
):  # fmt: skip
    """The sums of P, of P times its excess, and of Q - P."""
    none = tl.zeros([T], tl.float32)
    mass, mass_low, kl, kl_low, more, more_low = none, none, none, none, none, none
    for start in range(0, classes, 8 * T):
        a, a_low = _read(p, start, classes, p_stride, LOG_P, True, UNIT_P, T)
        b, b_low = _read(q, start, classes, q_stride, LOG_Q, True, UNIT_Q, T)
        a, b = at_least(a - low_a, -LARGEST), at_least(b - low_b, -LARGEST)
        delta = bounded_log_ratio(a, a_low, b, b_low, shift, shift_low, rate, LOG_P, LOG_Q, SCALED)
        p_is_larger = delta > 0
        ratio, gap, above, below = ratio_functions(tl.abs(delta))
        large = larger_weight(
            p_is_larger, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate, LOG_P, LOG_Q
        )
        mass, mass_low = accumulate(mass, mass_low, add_eights(large * tl.where(p_is_larger, 1.0, ratio)))
        kl, kl_low = accumulate(kl, kl_low, add_eights(large * tl.where(p_is_larger, above, below)))
        more, more_low = accumulate(more, more_low, add_eights(large * tl.where(p_is_larger, -gap, gap)))
    return add_lanes(mass, mass_low), add_lanes(kl, kl_low), add_lanes(more, more_low)


@triton.jit
def _normalize(
    p, q, p_stride, q_stride, classes, rate, log2_rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """KL; the logarithms of the normalizers over the rate, less ``low_a`` and ``low_b``; special cases."""
    base, guess = _guess(p, q, p_stride, q_stride, classes, log2_rate, LOG_P, LOG_Q, UNIT_P, UNIT_Q, T)
    wide_log2_rate = widen(log2_rate)
    zero = base * 0
    shift, shift_low, low_a, low_b, kl = guess, zero, zero, zero, zero
    log_a = zero.to(tl.float64)
    p_alone, q_alone, invalid = zero != 0, zero != 0, zero != 0
    settled, attempt = zero != 0, 0
    while attempt < 2:
        mass, sum_kl, mean, top = _near(
            p, q, p_stride, q_stride, classes, shift, base, rate, log2_rate, LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T
        )
        r, first = ((sum_kl - mean) / mass).to(tl.float32), (sum_kl / mass).to(tl.float32)
        suits = (mass > 0) & (mass < INF) & (top <= _STEEPEST) & (r > -0.9) & (r < 10)
        lost = log_excess(r)
        kl = tl.maximum(first - lost, 0.0)
        settled = suits & (tl.abs(r) < 0.5) & ((lost <= kl) | (first < _NO_DIGITS_LOST))
        log_a = (tl.log2(mass) + base.to(tl.float64)) / wide_log2_rate
        step = log1p(tl.where(suits, r, 0.0)) / rate
        shift, shift_low = two_sum(shift, -step)
        attempt = tl.where(suits & (settled == 0), attempt + 1, 2)
    if settled == 0:
        top_a, top_b, p_alone, q_alone = _tops(p, q, p_stride, q_stride, classes, LOG_P, LOG_Q, UNIT_P, UNIT_Q, T)
        invalid = (tl.abs(top_a) == INF) | (tl.abs(top_b) == INF)
        top_a, top_b = tl.where(invalid, 0.0, top_a), tl.where(invalid, 0.0, top_b)
        low_a, low_b = tl.where(tl.abs(top_a) > FAR, top_a, 0.0), tl.where(tl.abs(top_b) > FAR, top_b, 0.0)
        top_a, top_b = top_a - low_a, top_b - low_b
        base, base_b = whole_base(top_a, log2_rate), whole_base(top_b, log2_rate)
        shift, shift_low = two_sum(top_a, -top_b)
        attempt = tl.where(invalid, _ATTEMPTS, 0)
        while attempt < _ATTEMPTS:
            factor_b = share_factor(shift, shift_low, wide_log2_rate, base_b - base - _UNIT)
            mass, sum_kl, more = _apart(
                p, q, p_stride, q_stride, classes, low_a, low_b, shift, shift_low, base, base_b,
                2.0 ** -_UNIT, factor_b, rate, log2_rate, LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T,
            )  # fmt: skip
            r, first = (more / mass).to(tl.float32), (sum_kl / mass).to(tl.float32)
            lost = log_excess(r)
            kl = tl.maximum(first - lost, 0.0)
            settled = (tl.abs(r) < 0.5) & ((lost <= kl) | (first < _NO_DIGITS_LOST))
            log_a = (tl.log2(mass) + (base + _UNIT).to(tl.float64)) / wide_log2_rate
            shift, rest = two_sum(shift, -log1p(r) / rate)
            shift_low += rest
            attempt = tl.where(settled, _ATTEMPTS, attempt + 1)
    log_b = log_a - shift.to(tl.float64) - shift_low.to(tl.float64)
    return kl, log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, invalid


@triton.jit
def _other_terms(
    p, q, p_stride, q_stride, classes, rate, log2_rate, log_a, log_b, low_a, low_b, shift, shift_low,
    beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
    REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, ENTROPY: tl.constexpr,
):  # fmt: skip
    none = tl.zeros([T], tl.float32)
    reverse, reverse_low, jeffreys, jeffreys_low, shannon, shannon_low = none, none, none, none, none, none
    more_p, more_p_low, more_q, more_q_low, hellinger, hellinger_low = none, none, none, none, none, none
    light, light_low, share, share_low = none, none, none, none
    base_a, factor_a = probability_base(log_a, widen(log2_rate))
    base_b, factor_b = probability_base(log_b, widen(log2_rate))
    log_factor = tl.log2(factor_a) * LN2
    far = (low_a != 0) | (low_b != 0)
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = _tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            a, a_low = _read(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            b, b_low = _read(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            if far:
                a, b = a - low_a, b - low_b
            a, b = at_least(a, -LARGEST), at_least(b, -LARGEST)
            delta = bounded_log_ratio(a, a_low, b, b_low, shift, shift_low, rate, LOG_P, LOG_Q, SCALED)
            y = tl.abs(delta)
            ratio, gap, above, below = ratio_functions(y)
            large = larger_weight(
                delta > 0, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate, LOG_P, LOG_Q
            )
            log2_p = exponent(a, a_low, base_a, log2_rate, LOG_P)
            x_reverse, x_jeffreys, x_shannon, x_more_p, x_more_q, x_hellinger, x_light, x_share = summands(
                delta, y, ratio, gap, above, below, large, log2_p, log_factor,
                beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
                REVERSE_KL, JEFFREYS, JENSEN_SHANNON, TOTAL_VARIATION, SQUARED_HELLINGER, ENTROPY,
            )  # fmt: skip
            if REVERSE_KL:
                reverse, reverse_low = accumulate(reverse, reverse_low, add_eights(x_reverse))
            if JEFFREYS:
                jeffreys, jeffreys_low = accumulate(jeffreys, jeffreys_low, add_eights(x_jeffreys))
            if JENSEN_SHANNON:
                shannon, shannon_low = accumulate(shannon, shannon_low, add_eights(x_shannon))
            if TOTAL_VARIATION:
                more_p, more_p_low = accumulate(more_p, more_p_low, add_eights(x_more_p))
                more_q, more_q_low = accumulate(more_q, more_q_low, add_eights(x_more_q))
            if SQUARED_HELLINGER:
                hellinger, hellinger_low = accumulate(hellinger, hellinger_low, add_eights(x_hellinger))
            if ENTROPY:
                light, light_low = accumulate(light, light_low, add_eights(x_light))
                share, share_low = accumulate(share, share_low, add_eights(x_share))
    return (
        add_lanes(reverse, reverse_low),
        add_lanes(jeffreys, jeffreys_low),
        add_lanes(shannon, shannon_low),
        tl.maximum(add_lanes(more_p, more_p_low), add_lanes(more_q, more_q_low)),
        add_lanes(hellinger, hellinger_low),
        add_lanes(light, light_low),
        add_lanes(share, share_low),
    )


@triton.jit(do_not_specialize=SHAPES)
def long_rows(
    p, q, values, rows, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    p_stride, q_stride, classes, rate, rate_low, log2_rate,
    beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
    KL: tl.constexpr, LOG_MASS_P: tl.constexpr, LOG_MASS_Q: tl.constexpr, REVERSE_KL: tl.constexpr,
    JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, SMALL_ENTROPY: tl.constexpr, SMALL_SHARE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, UNIT_P)
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, UNIT_Q)
    kl, log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, invalid = _normalize(
        p, q, p_stride, q_stride, classes, rate, log2_rate, LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T
    )
    wide_rate = widen(rate) + rate_low
    store_term(values, KL, rows, row, tl.where(p_alone, INF, kl), invalid)
    store_term(values, LOG_MASS_P, rows, row, (log_a + low_a.to(tl.float64)) * wide_rate, invalid)
    store_term(values, LOG_MASS_Q, rows, row, (log_b + low_b.to(tl.float64)) * wide_rate, invalid)
    ENTROPY: tl.constexpr = (SMALL_ENTROPY >= 0) | (SMALL_SHARE >= 0)
    AGAIN: tl.constexpr = (
        (REVERSE_KL >= 0) | (JEFFREYS >= 0) | (JENSEN_SHANNON >= 0) | (TOTAL_VARIATION >= 0)
        | (SQUARED_HELLINGER >= 0) | ENTROPY
    )  # fmt: skip
    if AGAIN:
        reverse, jeffreys, shannon, variation, hellinger, light, share = _other_terms(
            p, q, p_stride, q_stride, classes, rate, log2_rate, log_a, log_b, low_a, low_b, shift, shift_low,
            beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8, LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T,
            REVERSE_KL >= 0, JEFFREYS >= 0, JENSEN_SHANNON >= 0, TOTAL_VARIATION >= 0, SQUARED_HELLINGER >= 0, ENTROPY,
        )  # fmt: skip
        store_term(values, REVERSE_KL, rows, row, tl.where(q_alone, INF, reverse), invalid)
        store_term(values, JEFFREYS, rows, row, tl.where(p_alone | q_alone, INF, jeffreys), invalid)
        store_term(values, JENSEN_SHANNON, rows, row, shannon, invalid)
        store_term(values, TOTAL_VARIATION, rows, row, variation, invalid)
        store_term(values, SQUARED_HELLINGER, rows, row, hellinger, invalid)
        store_term(values, SMALL_ENTROPY, rows, row, light, invalid)
        store_term(values, SMALL_SHARE, rows, row, share, invalid)
