"""What a class adds to each term but the Kullback-Leibler divergence, which the first reading of a row gives."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import LN2, LOG2E

_LIGHT = tl.constexpr(0.6)
"""A heavier class, of which there is at most one, is left out of sums that would lose digits by it."""
_JS_NEAR = tl.constexpr(1.5)


@triton.jit
def summands(
    delta, y, ratio, gap, above, below, large, small, log2_p, log_factor,
    beta, rest, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, ENTROPY: tl.constexpr, ACCEPTANCE: tl.constexpr,
):  # fmt: skip
    """The summands of those terms that are wanted: of total variation, p - q where p and where q is larger.

    The larger and the smaller one of p and q are ``large`` and ``small``; only the acceptance needs the latter.

    The binary logarithm of p is ``log2_p`` plus that of a factor, whose natural logarithm is ``log_factor``. The weight
    of p in the mixture is beta, that of q rest, and c0 to c8 are the coefficients of its polynomial.
    """
    p_is_larger = delta > 0
    reverse, jeffreys, shannon, more_p, more_q, hellinger, light, share, mass = y, y, y, y, y, y, y, y, y
    if REVERSE_KL:
        reverse = large * tl.where(p_is_larger, below, above)
    if JEFFREYS:
        jeffreys = large * (gap * y)
    root = tl.exp2(y * (-LOG2E / 2))
    if JENSEN_SHANNON:
        shannon = _jensen_shannon(delta, y, large, ratio, gap, root, beta, rest, c0, c1, c2, c3, c4, c5, c6, c7, c8)
    if TOTAL_VARIATION:  # without a class that is heavy in both: the others have the opposite of its difference
        light_gap = tl.where(large * ratio > _LIGHT, 0.0, large * gap)
        more_p, more_q = tl.where(p_is_larger, light_gap, 0.0), tl.where(p_is_larger, 0.0, light_gap)
    if SQUARED_HELLINGER:
        step = gap / (1 + root)
        hellinger = large * (step * step) * 0.5
    if ENTROPY:
        p = large * tl.where(p_is_larger, 1.0, ratio)
        share = tl.where(p <= _LIGHT, p, 0.0)
        light = -share * tl.maximum(tl.fma(log2_p, LN2, log_factor), -800.0)
    if ACCEPTANCE:  # the same numbers where p and q are equal
        mass = tl.where(p_is_larger, large, small)
    return reverse, jeffreys, shannon, more_p, more_q, hellinger, light, share, small, mass


@triton.jit
def _jensen_shannon(delta, y, large, ratio, gap, root, beta, rest, c0, c1, c2, c3, c4, c5, c6, c7, c8):
    """The summand for the weights beta of p and rest = 1 - beta of q in the mixture.

    Near p = q it is sqrt(p q) delta**2 times a polynomial in delta, whose coefficients depend on beta. Beyond, with the
    mixture m in units of the larger one, it is -larger * (m log m + of_smaller * ratio * y).
    """
    n = tl.fma(delta, c8, c7)
    n = tl.fma(delta, n, c6)
    n = tl.fma(delta, n, c5)
    n = tl.fma(delta, n, c4)
    n = tl.fma(delta, n, c3)
    n = tl.fma(delta, n, c2)
    n = tl.fma(delta, n, c1)
    n = tl.fma(delta, n, c0)
    of_smaller, of_larger = tl.where(delta > 0, rest, beta), tl.where(delta > 0, beta, rest)
    lack = of_smaller * gap
    m = tl.where(lack > 0.5, tl.fma(of_smaller, ratio, of_larger), 1 - lack)
    tail = tl.where(lack > 0.5, 0.0, (1 - m) - lack)  # m + tail has not been rounded
    far = -tl.fma(m, _log(m) + tail / m, of_smaller * (y * ratio))
    return large * tl.where(y < _JS_NEAR, root * (y * y * n), far)


@triton.jit
def _log(x):
    """The logarithm of x > 0 in float32; accurate near 1."""
    bits = x.to(tl.int32, bitcast=True)
    exponent = bits - 0x3F3504F3 >> 23
    f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1
    s = f / (2 + f)
    z = s * s
    series = tl.fma(z, 0.22222222, 0.2857143)
    series = tl.fma(z, series, 0.4)
    series = tl.fma(z, series, 0.6666667)
    return tl.fma(exponent.to(tl.float32), LN2, tl.fma(s * z, series, 2 * s))
