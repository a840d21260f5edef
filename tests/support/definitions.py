"""The divergences by definition, in 50-digit arithmetic on the very floats that the package gets."""

from collections.abc import Sequence

import mpmath
import torch
from mpmath import mp, mpf
from torch import Tensor

mp.dps = 50


def distribution(row: Tensor, log_prob: bool, temperature: float = 1.0) -> list[mpf]:
    """The probabilities that a row of logits or of unnormalised probabilities stands for."""
    weights = [mpf(x) for x in row.tolist()]
    if log_prob:
        top = max(weights)
        weights = [mpmath.exp((x - top) / mpf(temperature)) for x in weights]
    total = mpmath.fsum(weights)
    return [w / total for w in weights]


def kl_divergence(p: Tensor, q: Tensor, log_prob: bool | tuple[bool, bool]) -> mpf:
    """Sum of p log(p / q) over the classes of one row."""
    of_p, of_q = log_prob if isinstance(log_prob, tuple) else (log_prob, log_prob)
    return kl_of(distribution(p, of_p), distribution(q, of_q))


def kl_of(p: Sequence[mpf], q: Sequence[mpf]) -> mpf:
    if any(x > 0 and y == 0 for x, y in zip(p, q, strict=True)):
        return mpf("inf")
    return mpmath.fsum(x * mpmath.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)


def relative_error(value: Tensor | float, truth: mpf) -> float:
    """0 where both are infinite or both are zero."""
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
    """Two tensors of logits, classes last: normal ones, and the same with normal noise."""
    generator = torch.Generator(device).manual_seed(seed)
    size = (shape,) if isinstance(shape, int) else shape
    a = torch.randn(size, generator=generator, dtype=torch.float64, device=device) * spread
    b = a + torch.randn(size, generator=generator, dtype=torch.float64, device=device) * noise
    return a.to(dtype), b.to(dtype)
