"""Two distributions class by class: log(p / q), and functions of the ratio that keep their digits.

With ``y = |log(p / q)|`` a class is described by its larger probability and by::

    ratio = exp(-y),   gap = 1 - exp(-y),   above = y - gap,   below = gap - y exp(-y)

A class with p > q adds ``p * above`` to KL(p || q) and ``p * below`` to KL(q || p), another one the reverse.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import LOG2E, two_sum

FAR = tl.constexpr(1e30)
LARGEST = tl.constexpr(3.4028234663852886e38)


@triton.jit
def at_least(x, low):
    """The maximum; NaN stays."""
    return tl.maximum(x, low, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log_ratio(
    a, a_low, b, b_low, shift, shift_low, rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr
):  # fmt: skip
    """The difference of two log-weights less a shift, times the rate: accurate to its last digits even if small."""
    s, rest = two_sum(a, -b)
    if not LOG_P:
        rest += a_low
    if not LOG_Q:
        rest -= b_low
    delta = (s - shift) + (rest - shift_low)
    if SCALED:
        delta *= rate
    return delta


@triton.jit
def exponent(a, a_low, base, log2_rate, IS_LOG: tl.constexpr):
    """The binary logarithm of a weight, less a base."""
    x = tl.fma(a, log2_rate, -base)
    return x if IS_LOG else tl.fma(a_low, log2_rate, x)


@triton.jit
def kl_excess(delta):
    """exp(-delta) - 1 + delta, for ``|delta|`` below 20."""
    w = tl.fma(delta, 2.4933893655543216e-05, -0.0002011062897508964)
    w = tl.fma(delta, w, 0.0013889218680560589)
    w = tl.fma(delta, w, -0.008332591503858566)
    w = tl.fma(delta, w, 0.041666653007268906)
    w = tl.fma(delta, w, -0.16666671633720398)
    w = tl.fma(delta, w, 0.5)
    return tl.where(tl.abs(delta) < 0.75, delta * delta * w, (delta - 1) + tl.exp2(delta * -LOG2E))


@triton.jit
def ratio_functions(y):
    """Of y >= 0: ratio, gap, above, below."""
    ratio = tl.exp2(y * -LOG2E)
    w = tl.fma(y, -0.00013781682355329394, 0.0013260184787213802)
    w = tl.fma(y, w, -0.00830252468585968)
    w = tl.fma(y, w, 0.04165993630886078)
    w = tl.fma(y, w, -0.166666179895401)
    w = tl.fma(y, w, 0.5)
    near, above_near, gap_far = y < 1, y * y * w, 1 - ratio
    gap = tl.where(near, y - above_near, gap_far)
    above = tl.where(near, above_near, y - gap_far)
    below = tl.where(near, tl.fma(y, gap, -above_near), tl.fma(-y, ratio, gap_far))
    return ratio, gap, above, below


@triton.jit
def larger_weight(
    p_is_larger, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
):  # fmt: skip
    x_a, x_b = exponent(a, a_low, base_a, log2_rate, LOG_P), exponent(b, b_low, base_b, log2_rate, LOG_Q)
    return tl.exp2(tl.where(p_is_larger, x_a, x_b)) * tl.where(p_is_larger, factor_a, factor_b)


@triton.jit
def bounded_log_ratio(
    a, a_low, b, b_low, shift, shift_low, rate, LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr
):  # fmt: skip
    """The same as :func:`log_ratio`, within float32."""
    delta = log_ratio(a, a_low, b, b_low, shift, shift_low, rate, LOG_P, LOG_Q, SCALED)
    if SCALED:
        delta = -at_least(-at_least(delta, -LARGEST), -LARGEST)
    return delta
