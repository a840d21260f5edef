"""Two normalized distributions, class by class: the quantities from which the terms of a divergence are made.

``delta = log(p / q)`` and p - q are accurate to their last digits when p and q are close. Subtracting the rounded p
and q would lose them.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

FLOOR = -800.0  # exp(-800) is 0 in float64: below this x log x counts as 0
_STEEPEST = 60.0
_LARGEST_EXPONENT = 700.0  # exp(700) is finite


def nan_to_inf_(terms: Tensor) -> Tensor:
    """Replace NaN by infinity: 0 * inf, where p underflows and q is 0, stands for p * log(p / 0)."""
    return terms.nan_to_num_(nan=math.inf, posinf=math.inf, neginf=-math.inf)


def nan_to_zero_(terms: Tensor) -> Tensor:
    """Replace NaN by 0: 0 / 0 and 0 * inf stand for a class without mass."""
    return terms.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)


class NormalizedPair:
    """Two distributions p and q over the last dimension, with ``delta = log(p / q)`` and log p.

    ``log_mass``, ``[2, rows, 1]``, has the logarithms of the sums of the weights from which p and q were normalized.
    """

    def __init__(self, p: Tensor, q: Tensor, log_p: Tensor, delta: Tensor, log_mass: Tensor) -> None:
        self.p, self.q, self.log_p, self.delta, self.log_mass = p, q, log_p, delta, log_mass

    @cached_property
    def abs_diff(self) -> Tensor:
        """Absolute value of p - q."""
        return torch.expm1(-self.delta.abs()).mul_(torch.maximum(self.p, self.q)).neg_()

    @cached_property
    def diff(self) -> Tensor:
        """Difference p - q."""
        return torch.copysign(self.abs_diff, self.delta)

    @cached_property
    def with_finite_ratios(self) -> "NormalizedPair":
        """The pair with p / q replaced by exp(60) or exp(-60) where p or q is 0.

        Derivatives with respect to probabilities may be infinite there; these are finite.
        """
        step, least = math.exp(-_STEEPEST), torch.finfo(torch.float64).tiny
        no_p, no_q = self.delta == -math.inf, self.delta == math.inf
        p = torch.where(no_p, self.q * step, self.p).clamp_(min=least)
        q = torch.where(no_q, self.p * step, self.q).clamp_(min=least)
        log_p = torch.where(no_p, self.q.log() - _STEEPEST, self.log_p).clamp_(min=math.log(least))
        delta = self.delta.nan_to_num(posinf=_STEEPEST, neginf=-_STEEPEST)
        delta = delta.clamp_(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        return NormalizedPair(p, q, log_p, delta, self.log_mass)
