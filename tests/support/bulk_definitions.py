"""All divergences by their definitions, for many rows at once, in 80-bit floats.

Their mantissa has 64 bits: a term is off by about 2**-64 = 5e-20 of a probability, and a sum by less than 1e-18, which
is 1e-12 of 1e-6. So a value that agrees is right; one that disagrees has to be checked again with 50 digits. The
exponent has 15 bits, so no probability that matters underflows.
"""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tests.support import definitions
from tests.support.divergences import Divergence

Long = npt.NDArray[np.longdouble]
Bools = npt.NDArray[np.bool_]
LARGEST = np.finfo(np.float64).max


class NormalizedPair:
    """Normalised p and q of each row, and their logarithms."""

    def __init__(self, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float = 1.0) -> None:
        sides = [_normalized(x, is_log, np.longdouble(temperature)) for x, is_log in zip((p, q), log_prob, strict=True)]
        (self.log_p, p_is_valid), (self.log_q, q_is_valid) = sides
        self.valid = p_is_valid & q_is_valid
        with np.errstate(under="ignore"):
            self.p, self.q = np.exp(self.log_p), np.exp(self.log_q)
        self.in_p, self.in_q = self.log_p > -np.inf, self.log_q > -np.inf

    @cached_property
    def log_ratio(self) -> Long:
        """The logarithm of p / q where both are positive; 0 elsewhere."""
        return np.where(self.in_p & self.in_q, self.log_p - self.log_q, 0)

    @cached_property
    def swapped(self) -> "NormalizedPair":
        other = object.__new__(NormalizedPair)
        other.log_p, other.log_q, other.p, other.q = self.log_q, self.log_p, self.q, self.p
        other.in_p, other.in_q, other.valid = self.in_q, self.in_p, self.valid
        return other


def exactly(x: Tensor) -> Long:
    """The same numbers in 80-bit floats."""
    wide = x.double() if x.is_floating_point() else x
    return wide.numpy().astype(np.longdouble)


@np.errstate(all="ignore")  # inf - inf and 0 * inf in classes that np.where discards
def _normalized(x: Tensor, is_log: bool, temperature: np.longdouble) -> tuple[Long, npt.NDArray[Any]]:
    weights = exactly(x)
    if not is_log:
        total = weights.sum(-1, keepdims=True)
        valid = (weights >= 0).all(-1) & np.isfinite(total[:, 0]) & (total[:, 0] > 0)
        return np.log(weights / total), valid
    top = weights.max(-1, keepdims=True)  # NaN if there is one
    valid = np.isfinite(top[:, 0])
    weights = (weights - top) / temperature
    return weights - np.log(np.exp(weights).sum(-1, keepdims=True)), valid


def kl(s: NormalizedPair) -> Long:
    return np.where(s.in_p, s.p * s.log_ratio, 0).sum(-1) + _infinite_outside(s.in_p, s.in_q)


def reverse_kl(s: NormalizedPair) -> Long:
    return kl(s.swapped)


def jeffreys(s: NormalizedPair) -> Long:
    return kl(s) + reverse_kl(s)


def jensen_shannon(s: NormalizedPair, beta: float) -> Long:
    b = np.longdouble(beta)
    log_m = np.logaddexp(np.log(b) + s.log_p, np.log1p(-b) + s.log_q)
    p_terms = np.where(s.in_p, s.p * (s.log_p - log_m), 0)
    q_terms = np.where(s.in_q, s.q * (s.log_q - log_m), 0)
    return (b * p_terms + (1 - b) * q_terms).sum(-1)


def total_variation(s: NormalizedPair) -> Long:
    return np.abs(s.p - s.q).sum(-1) / 2


def expected_acceptance(s: NormalizedPair) -> Long:
    return np.minimum(s.p, s.q).sum(-1)


def squared_hellinger(s: NormalizedPair) -> Long:
    return ((np.exp(s.log_p / 2) - np.exp(s.log_q / 2)) ** 2).sum(-1) / 2


def hellinger(s: NormalizedPair) -> Long:
    return np.sqrt(squared_hellinger(s))


def chi_squared(s: NormalizedPair) -> Long:
    near = (s.p - s.q) ** 2 / s.q
    far = np.exp(s.log_p + s.log_ratio) - 2 * s.p + s.q  # where p or q may underflow
    terms = np.where((np.abs(s.log_ratio) < 1) & (s.q > 0), near, far)
    return np.where(s.in_q, np.where(s.in_p, terms, s.q), 0).sum(-1) + _infinite_outside(s.in_p, s.in_q)


def alpha(s: NormalizedPair, order: float) -> Long:
    if order in (0, 1):
        return kl(s) if order else reverse_kl(s)
    a = np.longdouble(order)
    return (_power_sum(s, a) - 1) / (a * (a - 1))


def renyi(s: NormalizedPair, order: float) -> Long:
    if order == 1:
        return kl(s)
    a = np.longdouble(order)
    logs = _log_powers(s, a)
    top = logs.max(-1, keepdims=True)
    total = np.log(np.exp(logs - top).sum(-1)) + top[:, 0]
    return np.where(np.isinf(top[:, 0]), np.inf, total / (a - 1))


def entropy(s: NormalizedPair) -> Long:
    return -np.where(s.in_p, s.p * s.log_p, 0).sum(-1)


def cross_entropy(s: NormalizedPair) -> Long:
    return -np.where(s.in_p & s.in_q, s.p * s.log_q, 0).sum(-1) + _infinite_outside(s.in_p, s.in_q)


def _infinite_outside(inner: Bools, outer: Bools) -> Long:
    return np.where((inner & ~outer).any(-1), np.inf, 0)


def _log_powers(s: NormalizedPair, a: np.longdouble) -> Long:
    inside = np.where(s.in_p & s.in_q, s.log_q + a * s.log_ratio, -np.inf)
    if a > 1:
        inside = np.where(s.in_p & ~s.in_q, np.inf, inside)
    if a < 0:
        inside = np.where(s.in_q & ~s.in_p, np.inf, inside)
    return inside


def _power_sum(s: NormalizedPair, a: np.longdouble) -> Long:
    return np.exp(_log_powers(s, a)).sum(-1)


@np.errstate(all="ignore")
def truth(divergence: Divergence, s: NormalizedPair) -> Long:
    """The value of each row: NaN if it is invalid, infinite if it exceeds the range of float64."""
    value = globals()[divergence.definition.__name__](s, *divergence.parameter.values())
    value = np.where(value > LARGEST, np.inf, np.maximum(value, 0))
    return np.where(s.valid, value, np.nan)


@np.errstate(all="ignore")
def largest_power_log(divergence: Divergence, s: NormalizedPair) -> npt.NDArray[Any]:
    """The size of the logarithms in the largest power p**a q**(1 - a) of each row, for divergences that sum them."""
    order = 2.0 if divergence.definition is definitions.chi_squared else divergence.parameter.get("alpha", 1.0)
    a = np.longdouble(order)
    logs = np.nan_to_num(_log_powers(s, a), nan=-np.inf, posinf=-np.inf)
    sizes = np.nan_to_num(np.abs(a * s.log_p) + np.abs((1 - a) * s.log_q), posinf=0)
    return np.take_along_axis(sizes, logs.argmax(-1)[:, None], -1)[:, 0].astype(float)
