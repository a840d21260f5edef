"""Two normalized distributions, class by class: the quantities from which the terms of a divergence are made.

``delta = log(p / q)`` and p - q are accurate to their last digits when p and q are close. Subtracting the rounded p
and q would lose them.
"""

import math
from collections.abc import Sequence
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
    ``elements`` are the rows of p and of q from which these weights were computed, in their own dtypes.
    """

    def __init__(
        self, p: Tensor, q: Tensor, log_p: Tensor, delta: Tensor, log_mass: Tensor, elements: Sequence[Tensor]
    ) -> None:
        self.p, self.q, self.log_p, self.delta = p, q, log_p, delta
        self.log_mass, self.elements = log_mass, elements

    @cached_property
    def abs_diff(self) -> Tensor:
        """Absolute value of p - q."""
        return torch.expm1(-self.delta.abs()).mul_(torch.maximum(self.p, self.q)).neg_()

    @cached_property
    def diff(self) -> Tensor:
        """Difference p - q."""
        return torch.copysign(self.abs_diff, self.delta)

    @property
    def geometric_mean(self) -> Tensor:
        """Square root of p q."""
        return (self.p * self.q).sqrt()

    def log_powers(self, alpha: float) -> Tensor:
        """Logarithm of p**alpha q**(1 - alpha). Where p = 0 < q the power is 0, or infinite if alpha < 0."""
        log = self.log_p + (alpha - 1) * self.delta
        return log.nan_to_num_(nan=math.inf if alpha < 0 else -math.inf, posinf=math.inf, neginf=-math.inf)

    def mixture_terms(self, beta: float) -> tuple[Tensor, Tensor]:
        """Beta p log(p / m) and (1 - beta) q log(q / m) for the mixture m = beta p + (1 - beta) q."""
        step = nan_to_zero_(self.diff / (beta * self.p + (1 - beta) * self.q)).clamp_(-1 / (1 - beta), 1 / beta)
        nearest = -1 + 2.0**-53  # instead of -1 where p = 0: p log(p / m) is 0
        near_p = (step * (1 - beta)).clamp_(min=nearest).log1p_().mul_(self.p * beta)
        near_q = (step * -beta).clamp_(min=nearest).log1p_().mul_(self.q * (1 - beta))
        # log(p / m) is more accurate from delta where one probability is far below the other
        far_p = nan_to_zero_((self.delta - torch.log(beta * self.delta.exp() + (1 - beta))) * self.p * beta)
        far_q = nan_to_zero_((-self.delta - torch.log((1 - beta) * (-self.delta).exp() + beta)) * self.q * (1 - beta))
        return torch.where(self.delta < -30, far_p, near_p), torch.where(self.delta > 30, far_q, near_q)

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
        return NormalizedPair(p, q, log_p, delta, self.log_mass, self.elements)


class DifferentiablePair(NormalizedPair):
    """The same of finite log-weights, in operations that torch can differentiate as often as wanted.

    It serves derivatives of gradients, which need less accuracy than values near p = q, and no memory layout of their
    own.
    """

    def __init__(self, a: Tensor, b: Tensor) -> None:
        a, b = (x - x.detach().max(-1, keepdim=True).values for x in (a, b))
        # not logsumexp: its forward derivative is in place, which torch cannot differentiate again
        mass_a, mass_b = (x.exp().sum(-1, keepdim=True).log() for x in (a, b))
        log_p, self.log_q = a - mass_a, b - mass_b
        delta = (a - b) - (mass_a - mass_b)
        super().__init__(log_p.exp(), self.log_q.exp(), log_p, delta, torch.stack([mass_a, mass_b]), (a, b))

    @property
    def diff(self) -> Tensor:
        """Difference p - q; its derivatives are right at p = q, too."""
        is_larger = self.delta > 0
        above, below = self.delta.masked_fill(~is_larger, 0.0), self.delta.masked_fill(is_larger, 0.0)
        return torch.where(is_larger, self.p * -torch.expm1(-above), self.q * torch.expm1(below))

    @property
    def geometric_mean(self) -> Tensor:
        """Square root of p q."""
        return ((self.log_p + self.log_q) / 2).exp()

    def log_powers(self, alpha: float) -> Tensor:
        """Logarithm of p**alpha q**(1 - alpha)."""
        return self.log_p + (alpha - 1) * self.delta

    def mixture_terms(self, beta: float) -> tuple[Tensor, Tensor]:
        """Beta p log(p / m) and (1 - beta) q log(q / m) for the mixture m = beta p + (1 - beta) q."""
        # not logaddexp, whose bits depend on the number of elements
        is_larger, rest = self.delta > 0, 1 - beta
        above, below = self.delta.masked_fill(~is_larger, 0.0), self.delta.masked_fill(is_larger, 0.0)
        log_of_larger = torch.log1p(rest * torch.expm1(-above))  # log(m / p)
        log_of_smaller = torch.log1p(beta * torch.expm1(below))  # log(m / q) where it is not
        log_m_over_p = torch.where(is_larger, log_of_larger, log_of_smaller - below)
        log_m_over_q = torch.where(is_larger, log_of_larger + above, log_of_smaller)
        return -beta * self.p * log_m_over_p, -rest * self.q * log_m_over_q
