"""Every divergence by its definition, for many rows at once, in numbers of 80 bits.

Their mantissa has 64 bits: a term is off by about 2**-64 = 5e-20 of a share, and so is a sum, which has up to 1e-18 to
spare where float64 promises 1e-12 of 1e-6. That is enough to acquit a row, and not to find it guilty: a row that
disagrees is to be tried again with 50 digits. The exponent has 15 bits, so no share that counts is rounded to 0.
"""

from functools import cached_property

import numpy as np
from torch import Tensor

import tests.support.all_definitions as definitions
from tests.support.divergences import Member

Long = np.ndarray  # of np.longdouble
LARGEST = np.finfo(np.float64).max


class Shares:
    """Two normalised distributions of each row, and their logarithms; 0 shares have the logarithm -inf."""

    def __init__(self, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float = 1.0) -> None:
        sides = [_side(x, is_log, np.longdouble(temperature)) for x, is_log in zip((p, q), log_prob, strict=True)]
        (self.log_p, of_p), (self.log_q, of_q) = sides
        self.valid = of_p & of_q
        with np.errstate(under="ignore"):
            self.p, self.q = np.exp(self.log_p), np.exp(self.log_q)
        self.in_p, self.in_q = self.log_p > -np.inf, self.log_q > -np.inf

    @cached_property
    def delta(self) -> Long:
        """The logarithm of p / q where both are; 0 elsewhere."""
        return np.where(self.in_p & self.in_q, self.log_p - self.log_q, 0)

    @cached_property
    def swapped(self) -> "Shares":
        other = object.__new__(Shares)
        other.log_p, other.log_q, other.p, other.q = self.log_q, self.log_p, self.q, self.p
        other.in_p, other.in_q, other.valid = self.in_q, self.in_p, self.valid
        return other


def exactly(x: Tensor) -> Long:
    """The same numbers."""
    wide = x.double() if x.is_floating_point() else x
    return wide.numpy().astype(np.longdouble)


@np.errstate(all="ignore")  # inf - inf and 0 * inf are of classes that np.where leaves out
def _side(x: Tensor, is_log: bool, temperature: np.longdouble) -> tuple[Long, np.ndarray]:
    weights = exactly(x)
    if not is_log:
        total = weights.sum(-1, keepdims=True)
        valid = (weights >= 0).all(-1) & np.isfinite(total[:, 0]) & (total[:, 0] > 0)
        return np.log(weights / total), valid
    top = weights.max(-1, keepdims=True)  # NaN if there is one
    valid = np.isfinite(top[:, 0])
    weights = (weights - top) / temperature
    return weights - np.log(np.exp(weights).sum(-1, keepdims=True)), valid


def kl_of(s: Shares) -> Long:
    return np.where(s.in_p, s.p * s.delta, 0).sum(-1) + _outside(s.in_p, s.in_q)


def reverse_kl(s: Shares) -> Long:
    return kl_of(s.swapped)


def jeffreys(s: Shares) -> Long:
    return kl_of(s) + reverse_kl(s)


def jensen_shannon(s: Shares, beta: float) -> Long:
    b = np.longdouble(beta)
    log_m = np.logaddexp(np.log(b) + s.log_p, np.log1p(-b) + s.log_q)
    of_p = np.where(s.in_p, s.p * (s.log_p - log_m), 0)
    of_q = np.where(s.in_q, s.q * (s.log_q - log_m), 0)
    return (b * of_p + (1 - b) * of_q).sum(-1)


def total_variation(s: Shares) -> Long:
    return np.abs(s.p - s.q).sum(-1) / 2


def squared_hellinger(s: Shares) -> Long:
    return ((np.exp(s.log_p / 2) - np.exp(s.log_q / 2)) ** 2).sum(-1) / 2


def hellinger(s: Shares) -> Long:
    return np.sqrt(squared_hellinger(s))


def chi_squared(s: Shares) -> Long:
    near = (s.p - s.q) ** 2 / s.q
    far = np.exp(s.log_p + s.delta) - 2 * s.p + s.q  # where the shares may be no numbers
    terms = np.where((np.abs(s.delta) < 1) & (s.q > 0), near, far)
    return np.where(s.in_q, np.where(s.in_p, terms, s.q), 0).sum(-1) + _outside(s.in_p, s.in_q)


def alpha(s: Shares, order: float) -> Long:
    if order in (0, 1):
        return kl_of(s) if order else reverse_kl(s)
    a = np.longdouble(order)
    return (_power_sum(s, a) - 1) / (a * (a - 1))


def renyi(s: Shares, order: float) -> Long:
    if order == 1:
        return kl_of(s)
    a = np.longdouble(order)
    logs = _log_powers(s, a)
    top = logs.max(-1, keepdims=True)
    total = np.log(np.exp(logs - top).sum(-1)) + top[:, 0]
    return np.where(np.isinf(top[:, 0]), np.inf, total / (a - 1))


def entropy(s: Shares) -> Long:
    return -np.where(s.in_p, s.p * s.log_p, 0).sum(-1)


def cross_entropy(s: Shares) -> Long:
    return -np.where(s.in_p & s.in_q, s.p * s.log_q, 0).sum(-1) + _outside(s.in_p, s.in_q)


def _outside(inner: np.ndarray, outer: np.ndarray) -> Long:
    return np.where((inner & ~outer).any(-1), np.inf, 0)


def _log_powers(s: Shares, a: np.longdouble) -> Long:
    inside = np.where(s.in_p & s.in_q, s.log_q + a * s.delta, -np.inf)
    if a > 1:
        inside = np.where(s.in_p & ~s.in_q, np.inf, inside)
    if a < 0:
        inside = np.where(s.in_q & ~s.in_p, np.inf, inside)
    return inside


def _power_sum(s: Shares, a: np.longdouble) -> Long:
    return np.exp(_log_powers(s, a)).sum(-1)


@np.errstate(all="ignore")
def truth(member: Member, s: Shares) -> Long:
    """The definition's value: NaN of invalid rows, infinite where float64 has no number so large."""
    value = globals()[member.definition.__name__](s, *member.parameter.values())
    value = np.where(value > LARGEST, np.inf, np.maximum(value, 0))
    return np.where(s.valid, value, np.nan)


@np.errstate(all="ignore")
def largest_power_log(member: Member, s: Shares) -> np.ndarray:
    """How large the logarithms are in the largest of the powers p**a q**(1 - a), for members that are made of such."""
    order = 2.0 if member.definition is definitions.chi_squared else member.parameter.get("alpha", 1.0)
    a = np.longdouble(order)
    logs = np.nan_to_num(_log_powers(s, a), nan=-np.inf, posinf=-np.inf)
    sizes = np.nan_to_num(np.abs(a * s.log_p) + np.abs((1 - a) * s.log_q), posinf=0)
    return np.take_along_axis(sizes, logs.argmax(-1)[:, None], -1)[:, 0].astype(float)
