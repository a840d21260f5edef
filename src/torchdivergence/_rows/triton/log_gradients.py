"""Derivatives of a divergence with respect to the log-weight of a class, by the kinds of its formulas.

Seen from one side, a class has its own probability w, the other one o, and ``delta = log(w / o)``. A derivative is::

    LINEAR         w (delta - H)                  KL in p, reverse KL in q
    DIFFERENCE     w - o                          KL and cross-entropy in q, reverse KL in p
    BOTH           the sum of these two           Jeffreys
    ENTROPY        w (-log w - H)
    CROSS_ENTROPY  w (-log o - H)
    SIGN           w below, -w above              total variation, where w > o and where w < o
    MIXTURE        w (log(w / m) - H)             Jensen-Shannon, m = w + rest (o - w)
    POWER          w (exp(k delta) - 1 - H)       alpha, chi-squared, Hellinger
    ESCORT         w (exp(k delta - H) - 1)       Rényi

times a constant of the side. H is the mean of the rest under w, so each sums to zero over the classes. For
probabilities, w is divided out: it is replaced by 1, and o by o / w.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import LN2, LOG2E, log1p
from torchdivergence._rows.triton.pairs import LARGEST, bounded_log_ratio, exponent, larger_weight, ratio_functions

ABSENT, ZERO, LINEAR, DIFFERENCE, ENTROPY, CROSS_ENTROPY, POWER, ESCORT, BOTH, SIGN, MIXTURE = (
    tl.constexpr(code) for code in range(-1, 10)
)
FROM_SUMS = BOTH
"""The first kind whose sum over a row does not follow from its value."""

HEAVY = tl.constexpr(0.6)
"""A row has at most one heavier class. Its derivative is minus the sum of all others, which loses no digits."""
STEEPEST = tl.constexpr(60.0)
"""Instead of infinity, the size of log(p / q) for the gradient in a probability where one of the two is 0."""
_LOG_TINY = tl.constexpr(-708.396418532264)  # of the smallest normal float64, which replaces a probability of 0
_SMALL, _MODERATE = tl.constexpr(1e-30), tl.constexpr(80.0)
_LARGEST_LOG_RATIO = tl.constexpr(700.0)
_HUGE = tl.constexpr(3e38)
_LARGEST_EXPONENT = tl.constexpr(125.0)


@triton.jit
def compare(
    a, a_low, b, b_low, shift, shift_low, base_a, base_b, factor_a, factor_b, rate, log2_rate,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """Of classes: log(p / q), 1 - exp(-abs(log(p / q))), p, q, p - q, log p and log q."""
    delta = bounded_log_ratio(a, a_low, b, b_low, shift, shift_low, rate, LOG_P, LOG_Q, SCALED)
    ratio, gap, _, _ = ratio_functions(tl.abs(delta))
    p_is_larger = delta > 0
    large = larger_weight(p_is_larger, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate, LOG_P, LOG_Q)
    small, apart = large * ratio, large * gap
    p, q = tl.where(p_is_larger, large, small), tl.where(p_is_larger, small, large)
    log_p = tl.fma(exponent(a, a_low, base_a, log2_rate, LOG_P), LN2, tl.log(factor_a))
    log_q = tl.fma(exponent(b, b_low, base_b, log2_rate, LOG_Q), LN2, tl.log(factor_b))
    return delta, gap, p, q, tl.where(p_is_larger, apart, -apart), log_p, log_q


@triton.jit
def log_gradient(
    KIND: tl.constexpr, IS_LOG: tl.constexpr, delta, gap, own, diff, log_own, log_other, no_own, no_other,
    mean, above, parameter,
):  # fmt: skip
    """The derivative without the constant of the side.

    Args:
        KIND: Which formula.
        IS_LOG: Whether it is with respect to a log-weight; if not, with respect to the weight, times the mass.
        delta: log(own / other), finite.
        gap: 1 - exp(-abs(delta)).
        own: The probability of the side whose derivative it is.
        diff: The difference from that of the other side.
        log_own: Its logarithm.
        log_other: That of the other side.
        no_own: Whether the class has no mass on the own side.
        no_other: Whether it has none on the other one.
        mean: H or ``below`` in the table above.
        above: Likewise.
        parameter: ``rest`` or ``k`` in the table above.
    """
    weight = own
    if not IS_LOG:
        weight = tl.zeros_like(own) + 1
        delta = tl.where(no_own, tl.where(no_other, 0.0, -STEEPEST), tl.where(no_other, STEEPEST, delta))
        gap = tl.where(no_own, tl.where(no_other, 0.0, 1.0), tl.where(no_other, 1.0, gap))
        delta = tl.clamp(delta, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)
    if (KIND == MIXTURE) | (not IS_LOG):
        inverse = tl.exp2(tl.minimum(tl.abs(delta) * LOG2E, _LARGEST_EXPONENT))
        relative = tl.where(delta > 0, gap, -gap * inverse)  # 1 - other / own
    if not IS_LOG:
        diff = relative
    if KIND == ZERO:
        return tl.zeros_like(own)
    if KIND == DIFFERENCE:
        return diff
    if (KIND == POWER) | (KIND == ESCORT):
        return _powers(KIND, delta, weight, log_own if IS_LOG else tl.zeros_like(own), mean, parameter)
    slope = delta - mean
    if KIND == ENTROPY:
        if not IS_LOG:
            log_own = tl.where(no_own & (no_other == 0), log_other - STEEPEST, tl.maximum(log_own, _LOG_TINY))
        slope = -log_own - mean
    if KIND == CROSS_ENTROPY:
        slope = (delta - log_own) - mean if IS_LOG else -tl.maximum(log_other, _LOG_TINY) - mean
    if KIND == SIGN:
        slope = tl.where(delta > 0, mean, tl.where(delta < 0, -above, (mean - above) * 0.5))
    if KIND == MIXTURE:
        slope = -log1p(-parameter * relative) - mean
    gradient = tl.where(weight == 0, 0.0, weight * slope)
    return gradient + diff if KIND == BOTH else gradient


@triton.jit
def _powers(KIND: tl.constexpr, delta, weight, log_weight, mean, k):
    exponent = tl.fma(delta, k, -mean) if KIND == ESCORT else delta * k
    _, gap, _, _ = ratio_functions(tl.abs(exponent))
    in_range = (weight > _SMALL) & (exponent < _MODERATE)
    power = tl.exp2((tl.where(in_range, 0.0, log_weight) + tl.minimum(exponent, _HUGE)) * LOG2E)
    grown = tl.where(in_range, weight, 1.0) * power  # by logarithms only if the weight or the power may underflow
    excess = tl.where(exponent > 0, grown, -weight) * gap
    return excess - weight * mean if KIND == POWER else excess


@triton.jit
def row_summands(KIND: tl.constexpr, delta, gap, own, diff, log_own, log_other, parameter):
    """What a class adds to two sums: H, or the masses ``below`` and ``above``, with half of what is equal in each."""
    if KIND == SIGN:
        larger, smaller = (delta > 0).to(tl.float32), (delta < 0).to(tl.float32)
        return own * (0.5 * (1 - larger + smaller)), own * (0.5 * (1 + larger - smaller))
    kind: tl.constexpr = LINEAR if KIND == BOTH else KIND
    none = own < 0
    x = log_gradient(kind, True, delta, gap, own, diff, log_own, log_other, none, none, 0.0, 0.0, parameter)
    return x, tl.zeros_like(x)


@triton.jit
def row_settings(means, outer, row, scale, log_mass, IS_LOG: tl.constexpr):
    """H of rows, if it follows from the value; and what the derivative of a class is multiplied by."""
    mean, factor = tl.load(means + row), tl.load(outer + row) * scale
    if not IS_LOG:
        factor *= tl.exp(-log_mass)
    return tl.where(mean > LARGEST, LARGEST, mean).to(tl.float32), factor.to(tl.float32)


@triton.jit
def scaled(gradient, factor, LIMIT: tl.constexpr):
    """The gradient times a factor, finite; 0 if the factor is 0; NaN stays."""
    x = tl.where(factor == 0, 0.0, gradient * factor)
    return tl.where(x > LIMIT, LIMIT, tl.where(x < -LIMIT, -LIMIT, x))
