"""The terms of a row as they are stored: infinite where one of p and q lacks mass, NaN where the row is invalid."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.normalizers import store_term
from torchdivergence._rows.triton.numbers import INF, widen
from torchdivergence._rows.triton.powers import alpha_divergence, log_of_powers, steps


@triton.jit
def store_first_terms(
    values, rows, row, invalid, p_alone, kl, log_a, log_b, low_a, low_b, rate, rate_low, top_p, top_q,
    KL: tl.constexpr, LOG_MASS_P: tl.constexpr, LOG_MASS_Q: tl.constexpr, TOP_P: tl.constexpr, TOP_Q: tl.constexpr,
):  # fmt: skip
    """The terms that the first reading gives."""
    wide_rate = widen(rate) + rate_low
    store_term(values, KL, rows, row, tl.where(p_alone, INF, kl), invalid)
    store_term(values, LOG_MASS_P, rows, row, (log_a + low_a.to(tl.float64)) * wide_rate, invalid)
    store_term(values, LOG_MASS_Q, rows, row, (log_b + low_b.to(tl.float64)) * wide_rate, invalid)
    store_term(values, TOP_P, rows, row, top_p, invalid)
    store_term(values, TOP_Q, rows, row, top_q, invalid)


@triton.jit
def store_other_terms(
    values, rows, row, invalid, p_alone, q_alone, reverse, jeffreys, shannon, more_p, more_q, hellinger, light, share,
    overlap, mass, REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr,
    TOTAL_VARIATION: tl.constexpr, SQUARED_HELLINGER: tl.constexpr, SMALL_ENTROPY: tl.constexpr,
    SMALL_SHARE: tl.constexpr, OVERLAP: tl.constexpr, MASS_OF_P: tl.constexpr,
):  # fmt: skip
    """The terms that are sums of the second reading, but those of powers."""
    store_term(values, REVERSE_KL, rows, row, tl.where(q_alone, INF, reverse), invalid)
    store_term(values, JEFFREYS, rows, row, tl.where(p_alone | q_alone, INF, jeffreys), invalid)
    store_term(values, JENSEN_SHANNON, rows, row, shannon, invalid)
    store_term(values, TOTAL_VARIATION, rows, row, tl.maximum(more_p, more_q), invalid)
    store_term(values, SQUARED_HELLINGER, rows, row, hellinger, invalid)
    store_term(values, SMALL_ENTROPY, rows, row, light, invalid)
    store_term(values, SMALL_SHARE, rows, row, share, invalid)
    store_term(values, OVERLAP, rows, row, overlap, invalid)
    store_term(values, MASS_OF_P, rows, row, mass, invalid)


@triton.jit
def store_powers(
    values, rows, row, invalid, p_alone, q_alone, both, excess, powers, unit, alpha, alpha_low,
    CHI_SQUARED: tl.constexpr, ALPHA: tl.constexpr, LOG_POWERS: tl.constexpr,
):  # fmt: skip
    """The terms of powers, from their sums in a unit. The chi-squared divergence is twice that of alpha = 2."""
    down, up, outside = steps(alpha, alpha_low)
    if (CHI_SQUARED >= 0) | (ALPHA >= 0):
        value = alpha_divergence(excess, unit * outside, alpha, down, up, p_alone, q_alone)
        store_term(values, CHI_SQUARED, rows, row, 2 * value, invalid)
        store_term(values, ALPHA, rows, row, value, invalid)
    if LOG_POWERS >= 0:
        value = log_of_powers(powers, unit, alpha, p_alone, q_alone, both)
        store_term(values, LOG_POWERS, rows, row, value, invalid)
