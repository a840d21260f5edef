"""Two distributions, class by class: what the terms of a divergence are made of.

``delta = log(p / q)`` and p - q are known to their last digits when p and q are close, as the difference of p and q
is not.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

FLOOR = -800.0  # exp of this is 0 in float64: below it x log x counts as 0
_STEEP = 60.0
_FAR = 700.0  # exp of this is a number


def infinite(terms: Tensor) -> Tensor:
    """In place: 0 * inf, of a share too small for float64 and of none beside it, is inf."""
    return terms.nan_to_num_(nan=math.inf, posinf=math.inf, neginf=-math.inf)


def zero(terms: Tensor) -> Tensor:
    """In place: 0 / 0, of a class without mass, is 0."""
    return terms.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)


class Classes:
    """Two normalised distributions over the last dimension, class by class."""

    def __init__(self, p: Tensor, q: Tensor, log_p: Tensor, delta: Tensor, log_mass: Tensor) -> None:
        self.p, self.q, self.log_p, self.delta = p, q, log_p, delta
        self.log_mass = log_mass
        """Of both sides, ``[2, rows, 1]``: the logarithms of the sums of their weights."""

    @cached_property
    def gap(self) -> Tensor:
        """The absolute value of p - q."""
        return torch.expm1(-self.delta.abs()).mul_(torch.maximum(self.p, self.q)).neg_()

    @cached_property
    def difference(self) -> Tensor:
        """What p has more than q."""
        return torch.copysign(self.gap, self.delta)

    @cached_property
    def near_zero(self) -> "Classes":
        """For slopes by probabilities, which may be infinite at 0: there p / q is made exp(60) or exp(-60)."""
        step, least = math.exp(-_STEEP), torch.finfo(torch.float64).tiny
        no_p, no_q = self.delta == -math.inf, self.delta == math.inf
        p = torch.where(no_p, self.q * step, self.p).clamp_(min=least)
        q = torch.where(no_q, self.p * step, self.q).clamp_(min=least)
        log_p = torch.where(no_p, self.q.log() - _STEEP, self.log_p).clamp_(min=math.log(least))
        delta = self.delta.nan_to_num(posinf=_STEEP, neginf=-_STEEP).clamp_(-_FAR, _FAR)
        return Classes(p, q, log_p, delta, self.log_mass)
