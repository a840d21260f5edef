"""The divergences by their definitions, in 50-digit arithmetic on exactly the floats that the package gets.

Conventions: 0 log 0 is 0, classes where p and q are both 0 contribute nothing, and a divergence is infinite where its
formula is.
"""

from collections.abc import Sequence
from itertools import starmap

import mpmath
import torch
from mpmath import mp, mpf
from torch import Tensor

mp.dps = 50

Distribution = Sequence[mpf]
INFINITE = mpf("inf")


def distribution(row: Tensor, log_prob: bool, temperature: float = 1.0) -> list[mpf]:
    """The normalised probabilities of a row of logits or of unnormalised probabilities."""
    weights = [mpf(x) for x in row.tolist()]
    if log_prob:
        top = max(weights)
        weights = [mpmath.exp((x - top) / mpf(temperature)) for x in weights]
    total = mpmath.fsum(weights)
    return [w / total for w in weights]


def kl(p: Distribution, q: Distribution) -> mpf:
    if _p_exceeds_support_of_q(p, q):
        return INFINITE
    return mpmath.fsum(x * mpmath.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)


def reverse_kl(p: Distribution, q: Distribution) -> mpf:
    return kl(q, p)


def jeffreys(p: Distribution, q: Distribution) -> mpf:
    return kl(p, q) + kl(q, p)


def jensen_shannon(p: Distribution, q: Distribution, beta: float) -> mpf:
    b = mpf(beta)
    mixture = [b * x + (1 - b) * y for x, y in zip(p, q, strict=True)]
    return b * kl(p, mixture) + (1 - b) * kl(q, mixture)


def total_variation(p: Distribution, q: Distribution) -> mpf:
    return mpmath.fsum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def expected_acceptance(p: Distribution, q: Distribution) -> mpf:
    return mpmath.fsum(starmap(min, zip(p, q, strict=True)))


def squared_hellinger(p: Distribution, q: Distribution) -> mpf:
    return mpmath.fsum((mpmath.sqrt(x) - mpmath.sqrt(y)) ** 2 for x, y in zip(p, q, strict=True)) / 2


def hellinger(p: Distribution, q: Distribution) -> mpf:
    return mpmath.sqrt(squared_hellinger(p, q))


def chi_squared(p: Distribution, q: Distribution) -> mpf:
    if _p_exceeds_support_of_q(p, q):
        return INFINITE
    return mpmath.fsum((x - y) ** 2 / y for x, y in zip(p, q, strict=True) if y > 0)


def alpha(p: Distribution, q: Distribution, order: float) -> mpf:
    if order in (0, 1):  # the limits
        return kl(p, q) if order else kl(q, p)
    a = mpf(order)
    return (_power_sum(p, q, a) - 1) / (a * (a - 1))


def renyi(p: Distribution, q: Distribution, order: float) -> mpf:
    if order == 1:
        return kl(p, q)
    a = mpf(order)
    powers = _power_sum(p, q, a)
    return mpmath.log(powers) / (a - 1) if powers else INFINITE


def entropy(p: Distribution, q: Distribution) -> mpf:  # noqa: ARG001
    return -mpmath.fsum(x * mpmath.log(x) for x in p if x > 0)


def cross_entropy(p: Distribution, q: Distribution) -> mpf:
    if _p_exceeds_support_of_q(p, q):
        return INFINITE
    return -mpmath.fsum(x * mpmath.log(y) for x, y in zip(p, q, strict=True) if x > 0)


def _p_exceeds_support_of_q(p: Distribution, q: Distribution) -> bool:
    return any(x > 0 and y == 0 for x, y in zip(p, q, strict=True))


def _power_sum(p: Distribution, q: Distribution, a: mpf) -> mpf:
    """Sum of p**a q**(1 - a)."""
    if (a > 1 and _p_exceeds_support_of_q(p, q)) or (a < 0 and _p_exceeds_support_of_q(q, p)):
        return INFINITE

    def power(x: mpf, y: mpf) -> mpf:
        return x**a * y ** (1 - a) if x > 0 and y > 0 else mpf(0)

    return mpmath.fsum(starmap(power, zip(p, q, strict=True)))


def kl_divergence(p: Tensor, q: Tensor, log_prob: bool | tuple[bool, bool]) -> mpf:
    """The KL divergence of two rows."""
    p_is_log, q_is_log = log_prob if isinstance(log_prob, tuple) else (log_prob, log_prob)
    return kl(distribution(p, p_is_log), distribution(q, q_is_log))


def relative_error(value: Tensor | float, truth: mpf) -> float:
    """The relative error; 0 if both are infinite or both are zero."""
    value = mpf(float(value))
    if value == truth:
        return 0.0
    return float(abs(value - truth) / truth) if truth and mpmath.isfinite(truth) else float("inf")


def near(
    shape: int | tuple[int, ...],
    spread: float,
    noise: float,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Two tensors of logits, classes last: normally distributed ones, and the same plus normal noise."""
    generator = torch.Generator(device).manual_seed(seed)
    size = (shape,) if isinstance(shape, int) else shape
    a = torch.randn(size, generator=generator, dtype=torch.float64, device=device) * spread
    b = a + torch.randn(size, generator=generator, dtype=torch.float64, device=device) * noise
    return a.to(dtype), b.to(dtype)
