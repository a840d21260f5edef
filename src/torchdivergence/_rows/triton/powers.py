"""Powers p**alpha q**(1 - alpha), whose sums and summands may exceed the range of float32.

The power of order alpha is p at order 1 and q at order 0. Let ``l < m < h`` be the powers of the lowest, the middle and
the highest of these three orders, ``down`` and ``up`` the distances of the orders, and phi(x) = exp(-x) - 1 + x. Then::

    alpha-divergence = sum m (phi(down * delta) / down + phi(-up * delta) / up) / (down + up)

No summand is negative, whatever alpha is. In units of the largest of the three, which is h where delta > 0 and l
elsewhere, both parts are functions of the ratio that :mod:`pairs` has.

Logarithms of powers are binary, in units of 2**16 so that they stay within float32, and in two floats: the digits after
the point decide about a power, however large it is. Sums of powers are in units of a power of two.
"""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import INF, LN2, LOG2E, log, power_of_two, two_floats, two_sum, widen
from torchdivergence._rows.triton.pairs import LARGEST, ratio_functions

_SCALE = tl.constexpr(65536.0)
_WHOLE = tl.constexpr(256.0)
"""Scaled logarithms above it are integers in any case."""
_MOST_LOW = tl.constexpr(64 / 65536)
"""The largest size of a second float; it is larger only if the first one is beyond 2**29, where it does not matter."""
_NO_UNIT = tl.constexpr(-1e38)


@triton.jit
def power_factors(alpha, alpha_low, rate, rate_low, log_b):
    """Factors of log-weights and of their differences, and the logarithm of q's normalizer, in two floats each."""
    unit = (widen(rate) + rate_low) * (LOG2E / _SCALE)
    of_b, of_b_low = two_floats(unit)
    of_ratio, of_ratio_low = two_floats(unit * (widen(alpha) + alpha_low))
    mass, mass_low = two_floats(log_b * unit)
    return of_b, of_b_low, of_ratio, of_ratio_low, mass, mass_low


@triton.jit
def steps(alpha, alpha_low):
    """The distances of the middle one of the orders 0, alpha and 1 from the lowest and from the highest.

    The third number is 0 if alpha is that middle one, so that no power exceeds p and q, and otherwise 1.
    """
    order = widen(alpha) + alpha_low
    low, high = tl.minimum(order, 0.0), tl.maximum(order, 1.0)
    middle = tl.where(order < 0, 0.0, tl.where(order > 1, 1.0, order))
    outside = tl.where(order < 0, 1.0, tl.where(order > 1, 1.0, 0.0))
    return (middle - low).to(tl.float32), (high - middle).to(tl.float32), outside.to(tl.float32)


@triton.jit
def log_power(
    a, a_low, b, b_low, shift, shift_low, of_b, of_b_low, of_ratio, of_ratio_low, mass, mass_low,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr,
):  # fmt: skip
    """The scaled logarithm log q + alpha log(p / q) in two floats."""
    s, rest = two_sum(a, -b)
    low = -mass_low
    if not LOG_P:
        rest += a_low
    if not LOG_Q:
        rest -= b_low
        low = tl.fma(b_low, of_b, low)
    s, more = two_sum(s, -shift)
    rest = (rest - shift_low) + more
    x, y = s * of_ratio, b * of_b
    low += tl.fma(s, of_ratio, -x) + tl.fma(s, of_ratio_low, rest * of_ratio)
    low += tl.fma(b, of_b, -y) + b * of_b_low
    y, rest = two_sum(y, -mass)
    z, more = two_sum(x, y)
    low += rest + more
    return z, tl.minimum(tl.maximum(low, -_MOST_LOW), _MOST_LOW)


@triton.jit
def least_unit(outside):
    """The unit of a sum without summands: 1 if alpha is not between 0 and 1, as the sum is at least 1 then."""
    return (1 - outside) * _NO_UNIT


@triton.jit
def whole_unit(z):
    """A power of two of an integer at or above the scaled logarithm, or of that itself if it is large."""
    return tl.where(tl.abs(z) < _WHOLE, tl.ceil(z * _SCALE) * (1 / _SCALE), z)


@triton.jit
def unscaled_power(z):
    """The power of a scaled logarithm in one float."""
    return tl.exp2(z * _SCALE)


@triton.jit
def alpha_summand(delta, y, power, large, alpha, down, up):
    """The summand times ``down + up``, from the power and the larger one of p and q in the same unit."""
    p_is_larger = delta > 0
    near, far = tl.where(p_is_larger, up, down), tl.where(p_is_larger, down, up)
    over_near, over_far = tl.where(p_is_larger, 1 / up, 1 / down), tl.where(p_is_larger, 1 / down, 1 / up)
    largest = tl.where(tl.where(p_is_larger, alpha - 1, -alpha) > 0, power, large)
    ratio, _, _, below = ratio_functions(tl.minimum(near * y, LARGEST))
    _, _, above, _ = ratio_functions(tl.minimum(far * y, LARGEST))
    return largest * tl.fma(below, over_near, ratio * (above * over_far))


@triton.jit
def alpha_divergence(total, unit, alpha, down, up, p_alone, q_alone):
    """The divergence from the sum of summands in a unit; infinite beyond float64, and where a power is."""
    exponent = tl.minimum(unit * _SCALE, 2040.0).to(tl.int32)
    half = exponent >> 1
    value = total.to(tl.float64) / (widen(down) + up) * power_of_two(half) * power_of_two(exponent - half)
    return tl.where(_is_infinite(alpha, p_alone, q_alone), INF, value)


@triton.jit
def log_of_powers(total, unit, alpha, p_alone, q_alone, both):
    """The logarithm of the sum of powers, from the sum in a unit."""
    high, low = log(total.to(tl.float32))
    value = unit.to(tl.float64) * (_SCALE * LN2) + (high.to(tl.float64) + low.to(tl.float64))
    value = tl.where(both, value, -INF)
    return tl.where(_is_infinite(alpha, p_alone, q_alone), INF, value)


@triton.jit
def _is_infinite(alpha, p_alone, q_alone):
    return (tl.where(p_alone, alpha, 0.0) > 1) | (tl.where(q_alone, alpha, 0.0) < 0)
