"""The first reading of a long row: the normalizers, the Kullback-Leibler divergence and the most likely classes.

In it, log(p / q) is known up to the difference of the log-normalizers, of which the first tile gives a guess. With the
weights ``P`` of p and ``delta`` relative to the guess::

    M = sum P,   K = sum P (exp(-delta) - 1 + delta),   r = (K - sum P delta) / M
    difference = guess - log(1 + r),   KL = K / M - (r - log(1 + r))

If the guess was far off, the last subtraction loses digits: then the row is read once more with the new difference. A
row with classes in which p and q are very different is read by :func:`_apart`, which takes the larger of p and q.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.normalizers import share_factor, whole_base
from torchdivergence._rows.triton.numbers import (
    INF,
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
from torchdivergence._rows.triton.tiles import first_top, larger_eight, load_tile, read, tiles
from torchdivergence._rows.triton.weights import log_weight

_STEEPEST = tl.constexpr(20.0)
"""The largest log-ratio in a row that is read in the fast way."""
_NO_DIGITS_LOST = tl.constexpr(1e-10)
"""A divergence below it may lose digits: then its absolute error is 1e-16."""
_UNIT = tl.constexpr(20)
"""Weights of rows with very different classes are in units of 2**20: then 1e6 products with FINFO_MIN have a sum."""
_ATTEMPTS = tl.constexpr(6)


@triton.jit
def _guess(
    p, q, p_stride, q_stride, classes, log2_rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """From the first tile: an integer base for the weights of p, and the mean difference of the log-weights under p."""
    a, a_low = read(p, 0, classes, p_stride, LOG_P, True, UNIT_P, T)
    b, _ = read(q, 0, classes, q_stride, LOG_Q, True, UNIT_Q, T)
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
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr, TOPS: tl.constexpr,
):  # fmt: skip
    """The sums of P, of P times its excess and of P delta; the largest size of delta; the top classes, if TOPS."""
    none = tl.zeros([T], tl.float32)
    mass, mass_low, kl, kl_low, mean, mean_low, steepest = none, none, none, none, none, none, none
    top_p, top_q, at_p, at_q = none - INF, none - INF, none.to(tl.int32), none.to(tl.int32)
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            x_p = load_tile(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            x_q = load_tile(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            if TOPS:
                top_p, at_p = larger_eight(top_p, at_p, x_p, start)
                top_q, at_q = larger_eight(top_q, at_q, x_q, start)
            a, a_low = log_weight(x_p, LOG_P)
            b, b_low = log_weight(x_q, LOG_Q)
            a, b = at_least(a, -FAR), at_least(b, -FAR)
            delta = log_ratio(a, a_low, b, b_low, shift, 0.0, rate, LOG_P, LOG_Q, SCALED)
            weight = tl.exp2(exponent(a, a_low, base, log2_rate, LOG_P))
            mass, mass_low = accumulate(mass, mass_low, add_eights(weight))
            kl, kl_low = accumulate(kl, kl_low, add_eights(weight * kl_excess(delta)))
            mean, mean_low = accumulate(mean, mean_low, add_eights(weight * delta))
            steepest = tl.maximum(steepest, tl.max(tl.abs(delta), 1))
    if TOPS:
        first_p = first_top(top_p, at_p, p, classes, p_stride, LOG_P, T)
        first_q = first_top(top_q, at_q, q, classes, q_stride, LOG_Q, T)
    else:
        first_p, first_q = tl.max(at_p, 0), tl.max(at_q, 0)
    return (
        add_lanes(mass, mass_low),
        add_lanes(kl, kl_low),
        add_lanes(mean, mean_low),
        tl.max(steepest, 0),
        first_p,
        first_q,
    )


@triton.jit
def _tops(
    p, q, p_stride, q_stride, classes, LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr
):  # fmt: skip
    """The largest log-weights, infinite if one is invalid; whether a class has mass in p alone, in q alone, in both."""
    top_a, top_b = tl.full([T], -INF, tl.float32), tl.full([T], -INF, tl.float32)
    p_alone, q_alone, both = tl.zeros([T], tl.int32), tl.zeros([T], tl.int32), tl.zeros([T], tl.int32)
    for start in range(0, classes, 8 * T):
        a, _ = read(p, start, classes, p_stride, LOG_P, True, UNIT_P, T)
        b, _ = read(q, start, classes, q_stride, LOG_Q, True, UNIT_Q, T)
        top_a = tl.maximum(top_a, tl.max(tl.where(a != a, INF, a), 1))
        top_b = tl.maximum(top_b, tl.max(tl.where(b != b, INF, b), 1))
        p_alone = tl.maximum(p_alone, tl.max(((a > -INF) & (b == -INF)).to(tl.int32), 1))
        q_alone = tl.maximum(q_alone, tl.max(((b > -INF) & (a == -INF)).to(tl.int32), 1))
        both = tl.maximum(both, tl.max(((a > -INF) & (b > -INF)).to(tl.int32), 1))
    return tl.max(top_a, 0), tl.max(top_b, 0), tl.max(p_alone, 0) > 0, tl.max(q_alone, 0) > 0, tl.max(both, 0) > 0


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
        a, a_low = read(p, start, classes, p_stride, LOG_P, True, UNIT_P, T)
        b, b_low = read(q, start, classes, q_stride, LOG_Q, True, UNIT_Q, T)
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
def first_reading(
    p, q, p_stride, q_stride, classes, rate, log2_rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr, TOPS: tl.constexpr,
):  # fmt: skip
    """KL; the logarithms of the normalizers over the rate, less ``low_a`` and ``low_b``; special cases; top classes."""
    base, guess = _guess(p, q, p_stride, q_stride, classes, log2_rate, LOG_P, LOG_Q, UNIT_P, UNIT_Q, T)
    wide_log2_rate = widen(log2_rate)
    zero = base * 0
    shift, shift_low, low_a, low_b, kl = guess, zero, zero, zero, zero
    log_a = zero.to(tl.float64)
    p_alone, q_alone, both, invalid = zero != 0, zero != 0, zero == 0, zero != 0
    first_p, first_q = zero.to(tl.int32), zero.to(tl.int32)
    settled, attempt = zero != 0, 0
    while attempt < 2:
        mass, sum_kl, mean, steepest, first_p, first_q = _near(
            p, q, p_stride, q_stride, classes, shift, base, rate, log2_rate,
            LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T, TOPS,
        )  # fmt: skip
        r, first = ((sum_kl - mean) / mass).to(tl.float32), (sum_kl / mass).to(tl.float32)
        suits = (mass > 0) & (mass < INF) & (steepest <= _STEEPEST) & (r > -0.9) & (r < 10)
        lost = log_excess(r)
        kl = tl.maximum(first - lost, 0.0)
        settled = suits & (tl.abs(r) < 0.5) & ((lost <= kl) | (first < _NO_DIGITS_LOST))
        log_a = (tl.log2(mass) + base.to(tl.float64)) / wide_log2_rate
        step = log1p(tl.where(suits, r, 0.0)) / rate
        shift, shift_low = two_sum(shift, -step)
        attempt = tl.where(suits & (settled == 0), attempt + 1, 2)
    if settled == 0:
        top_a, top_b, p_alone, q_alone, both = _tops(p, q, p_stride, q_stride, classes, LOG_P, LOG_Q, UNIT_P, UNIT_Q, T)
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
    return kl, log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, both, invalid, first_p, first_q
