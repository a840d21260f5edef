"""Quantiles and tails of Student's t distribution, for any positive degrees of freedom, to a relative error of 1e-10.

Let I be the regularized incomplete beta function, and n the degrees of freedom. Then

    P(abs(T) > t) = I_x(n / 2, 1 / 2),  x = n / (n + t**2).

Source: NIST Digital Library of Mathematical Functions, https://dlmf.nist.gov, sections 8.17 (the continued fraction
8.17.22) and 5.11 (ratios of gamma functions); M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions",
formulas 26.7.1 (the tail), 26.7.5 and 26.7.8 (many degrees of freedom).
"""

import math
from statistics import NormalDist

_MANY = 1e6
"""Degrees of freedom from which an expansion in their inverse is accurate."""
_LARGEST = 1e150
"""Quantiles above it are infinite: their squares would overflow."""
_PRECISION = 1e-15
_TINY = 1e-300


def quantile(probability: float, freedom: float) -> float:
    """The t with P(T <= t) = probability; NaN unless the degrees of freedom are positive."""
    if probability == 0.5:
        return 0.0 if freedom > 0 else math.nan
    size = two_sided_quantile(abs(2 * probability - 1), freedom)
    return size if probability > 0.5 else -size


def two_sided_tail(t: float, freedom: float) -> float:
    """P(abs(T) > t) for t >= 0; NaN unless the degrees of freedom are positive."""
    if not freedom > 0 or math.isnan(t):
        return math.nan
    if t in (0, math.inf):
        return float(t == 0)
    if freedom > _MANY:
        return math.erfc(t * (1 - 1 / (4 * freedom)) / math.sqrt(2 + t * t / freedom))
    return _tail(t, freedom)[0]


def two_sided_quantile(confidence: float, freedom: float) -> float:
    """The t with P(abs(T) <= t) = confidence; NaN unless the degrees of freedom are positive."""
    if not freedom > 0:
        return math.nan
    z = -NormalDist().inv_cdf((1 - confidence) / 2)
    if freedom > _MANY:
        return z + (z**3 + z) / (4 * freedom)
    return _newton(z, math.log1p(-confidence), freedom)


def _newton(start: float, log_tail: float, freedom: float) -> float:
    """Solve for t. The log of the tail is concave in log(t): every step after the first comes from above."""
    t = start or 1.0
    for _ in range(100):
        tail, slope = _tail(t, freedom)
        step = (math.log(tail) - log_tail) * tail / (2 * slope)
        if step > math.log(_LARGEST / t):
            return math.inf
        t *= math.exp(step)
        if abs(step) < 1e-13:
            break
    return t


def _tail(t: float, freedom: float) -> tuple[float, float]:
    """P(abs(T) > t), and t times the density at t."""
    a, ratio = freedom / 2, t * t / freedom
    x, y = 1 / (1 + ratio), ratio / (1 + ratio)
    front = math.exp(-a * math.log1p(ratio)) * math.sqrt(y / math.pi) * _gamma_ratio(a)
    if x < (a + 1) / (a + 2.5):
        return front * _continued_fraction(a, 0.5, x) / a, front
    return 1 - front * _continued_fraction(0.5, a, y) / 0.5, front


def _gamma_ratio(a: float) -> float:
    """Gamma(a + 1/2) / Gamma(a). The difference of two large logarithms would lose digits."""
    if a < 100:
        return math.exp(math.lgamma(a + 0.5) - math.lgamma(a))
    b = 1 / (8 * a)
    return math.sqrt(a) * (1 - b + b**2 / 2 + 5 * b**3 / 2)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of I_x(a, b), by the algorithm of Lentz: I = x**a * (1 - x)**b / (a * B(a, b)) * this."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _not_zero(1 + numerator * d)
            c = _not_zero(1 + numerator / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _not_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
