"""Every divergence by its definition, in 50-digit arithmetic on two lists of probabilities.

0 log 0 is 0; a class that both leave out counts nothing; and a sum is infinite where its formula is.
"""

from collections.abc import Sequence
from itertools import starmap

import mpmath
from mpmath import mpf

from tests.support.definitions import kl_of as kl

Shares = Sequence[mpf]
INFINITE = mpf("inf")

__all__ = [
    "alpha",
    "chi_squared",
    "cross_entropy",
    "entropy",
    "hellinger",
    "jeffreys",
    "jensen_shannon",
    "kl",
    "renyi",
    "reverse_kl",
    "squared_hellinger",
    "total_variation",
]


def reverse_kl(p: Shares, q: Shares) -> mpf:
    return kl(q, p)


def jeffreys(p: Shares, q: Shares) -> mpf:
    return kl(p, q) + kl(q, p)


def jensen_shannon(p: Shares, q: Shares, beta: float) -> mpf:
    b = mpf(beta)
    mixture = [b * x + (1 - b) * y for x, y in zip(p, q, strict=True)]
    return b * kl(p, mixture) + (1 - b) * kl(q, mixture)


def total_variation(p: Shares, q: Shares) -> mpf:
    return mpmath.fsum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def squared_hellinger(p: Shares, q: Shares) -> mpf:
    return mpmath.fsum((mpmath.sqrt(x) - mpmath.sqrt(y)) ** 2 for x, y in zip(p, q, strict=True)) / 2


def hellinger(p: Shares, q: Shares) -> mpf:
    return mpmath.sqrt(squared_hellinger(p, q))


def chi_squared(p: Shares, q: Shares) -> mpf:
    if _has_more_classes(p, q):
        return INFINITE
    return mpmath.fsum((x - y) ** 2 / y for x, y in zip(p, q, strict=True) if y > 0)


def alpha(p: Shares, q: Shares, order: float) -> mpf:
    if order in (0, 1):  # the limits
        return kl(p, q) if order else kl(q, p)
    a = mpf(order)
    return (_power_sum(p, q, a) - 1) / (a * (a - 1))


def renyi(p: Shares, q: Shares, order: float) -> mpf:
    if order == 1:
        return kl(p, q)
    a = mpf(order)
    powers = _power_sum(p, q, a)
    return mpmath.log(powers) / (a - 1) if powers else INFINITE


def entropy(p: Shares, q: Shares) -> mpf:  # noqa: ARG001
    return -mpmath.fsum(x * mpmath.log(x) for x in p if x > 0)


def cross_entropy(p: Shares, q: Shares) -> mpf:
    if _has_more_classes(p, q):
        return INFINITE
    return -mpmath.fsum(x * mpmath.log(y) for x, y in zip(p, q, strict=True) if x > 0)


def _has_more_classes(p: Shares, q: Shares) -> bool:
    return any(x > 0 and y == 0 for x, y in zip(p, q, strict=True))


def _power_sum(p: Shares, q: Shares, a: mpf) -> mpf:
    """Sum of p**a q**(1 - a)."""
    if (a > 1 and _has_more_classes(p, q)) or (a < 0 and _has_more_classes(q, p)):
        return INFINITE

    def power(x: mpf, y: mpf) -> mpf:
        return x**a * y ** (1 - a) if x > 0 and y > 0 else mpf(0)

    return mpmath.fsum(starmap(power, zip(p, q, strict=True)))
