"""The table of divergences: what each one makes of a class, in float64. It knows neither devices nor blocks.

Every divergence here is ``finish(sum over classes of term)``. The terms of an f-divergence ``sum_i q_i f(p_i / q_i)``
have the affine part of f taken out, which sums to zero: f(1) = f'(1) = 0. So each term is >= 0, none cancel, and an
error in the normalisation counts in second order only. They are spelled with ``delta = log(p / q)`` and with
``p - q``, which are known to their last digits when p and q are close, as the difference of p and q is not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor

_FLOOR = -800.0  # exp of this is 0 in float64: below it x log x counts as 0
_STEEP = 60.0  # slopes that are infinite where p or q is 0 stop at p / q = exp(60) or exp(-60)


class Classes:
    """Two normalised distributions over the last dimension, class by class."""

    def __init__(self, p: Tensor, q: Tensor, log_p: Tensor, delta: Tensor) -> None:
        self.p, self.q, self.log_p, self.delta = p, q, log_p, delta

    @cached_property
    def gap(self) -> Tensor:
        """The absolute value of p - q."""
        return torch.expm1(-self.delta.abs()).mul_(torch.maximum(self.p, self.q)).neg_()

    @cached_property
    def difference(self) -> Tensor:
        """What p has more than q."""
        return torch.copysign(self.gap, self.delta)


def _as_it_is(total: Tensor, classes: Classes) -> Tensor:  # noqa: ARG001
    return total


@dataclass(frozen=True)
class Generator:
    """One divergence: a row of the table."""

    name: str
    """The function's name; after a colon its parameter, if it has one."""
    formula: str
    """In LaTeX."""
    source: str
    term: Callable[[Classes], Tensor]
    slopes: Callable[[Classes], tuple[Tensor, Tensor]]
    """The derivatives of the sum by log p and by log q of a class, but for a constant times p, and one times q."""
    largest: float = math.inf
    """No value is larger."""
    in_nats: bool = True
    """Whether it is a logarithm, which has a unit."""
    compares: bool = True
    """Whether it is zero for equal rows."""
    finish: Callable[[Tensor, Classes], Tensor] = _as_it_is
    """From the sum over the classes to the value; it grows with it."""
    finish_slope: Callable[[Tensor], Tensor] = torch.ones_like
    """The derivative of that, as a function of the value."""


def _infinite(terms: Tensor) -> Tensor:
    """In place: 0 * inf, of a share too small for float64 and of none beside it, is inf."""
    return terms.nan_to_num_(nan=math.inf, posinf=math.inf, neginf=-math.inf)


def _zero(terms: Tensor) -> Tensor:
    """In place: 0 / 0, of a class without mass, is 0."""
    return terms.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)


def _kl(c: Classes) -> Tensor:
    return _infinite(c.delta.clamp(min=_FLOOR).mul_(c.p)).sub_(c.difference)


def _reverse_kl(c: Classes) -> Tensor:
    return _infinite(c.delta.neg().clamp_(min=_FLOOR).mul_(c.q)).add_(c.difference)


def _by_log_p(c: Classes) -> Tensor:
    return c.delta.clamp(min=-_STEEP).mul_(c.p)


def _by_log_q(c: Classes) -> Tensor:
    return c.delta.clamp(max=_STEEP).mul_(c.q).neg_()


def _entropy(c: Classes) -> Tensor:
    return c.log_p.clamp(min=_FLOOR).mul_(c.p).neg_()


KL = Generator(
    name="kl_divergence",
    formula=r"\sum_i p_i \log \frac{p_i}{q_i}",
    source='S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), eq. 2.4',
    term=_kl,
    slopes=lambda c: (_by_log_p(c), -c.difference),
)

REVERSE_KL = Generator(
    name="reverse_kl_divergence",
    formula=r"\sum_i q_i \log \frac{q_i}{p_i}",
    source=KL.source,
    term=_reverse_kl,
    slopes=lambda c: (c.difference, _by_log_q(c)),
)

JEFFREYS = Generator(
    name="jeffreys_divergence",
    formula=r"\sum_i (p_i - q_i) \log \frac{p_i}{q_i}",
    source='H. Jeffreys, "An invariant form for the prior probability in estimation problems", '
    "Proc. R. Soc. Lond. A 186 (1946)",
    term=lambda c: _infinite(c.difference * c.delta),
    slopes=lambda c: (_by_log_p(c) + c.difference, _by_log_q(c) - c.difference),
)

TOTAL_VARIATION = Generator(
    name="total_variation_distance",
    formula=r"\frac12 \sum_i |p_i - q_i|",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.4',
    term=lambda c: c.gap / 2,
    slopes=lambda c: (c.delta.sign() * c.p / 2, c.delta.sign() * c.q / -2),
    largest=1.0,
    in_nats=False,
)

SQUARED_HELLINGER = Generator(
    name="squared_hellinger_distance",
    formula=r"\frac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.3, halved',
    term=lambda c: _zero(c.gap / (c.p.sqrt() + c.q.sqrt())).square_().div_(2),
    slopes=lambda c: ((c.p * c.q).sqrt() / -2, (c.p * c.q).sqrt() / -2),
    largest=1.0,
    in_nats=False,
)

HELLINGER = replace(
    SQUARED_HELLINGER,
    name="hellinger_distance",
    formula=r"\sqrt{\tfrac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2}",
    finish=lambda total, _: total.sqrt(),
    finish_slope=lambda value: torch.where(value > 0, 0.5 / value, 0.0),
)

CHI_SQUARED = Generator(
    name="chi_squared_divergence",
    formula=r"\sum_i \frac{(p_i - q_i)^2}{q_i}",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), section 2.4, after K. Pearson (1900)',
    term=lambda c: _infinite(torch.expm1(c.delta).mul_(c.difference)),
    slopes=lambda c: (2 * c.p * c.delta.exp(), -c.p * c.delta.exp()),
    in_nats=False,
)

ENTROPY = Generator(
    name="entropy",
    formula=r"-\sum_i p_i \log p_i",
    source='C. E. Shannon, "A Mathematical Theory of Communication", Bell Syst. Tech. J. 27 (1948), section 6',
    term=_entropy,
    slopes=lambda c: (-c.log_p.clamp(min=-_STEEP) * c.p, torch.zeros_like(c.delta)),
    compares=False,
)

CROSS_ENTROPY = Generator(
    name="cross_entropy",
    formula=r"-\sum_i p_i \log q_i",
    source='I. J. Good, "Rational Decisions", J. R. Stat. Soc. B 14 (1952)',
    term=lambda c: _entropy(c).add_(_kl(c)),
    slopes=lambda c: (_by_log_p(c) - c.log_p.clamp(min=-_STEEP) * c.p, -c.difference),
    compares=False,
)


@cache
def jensen_shannon(beta: float) -> Generator:
    """The row of the table for one beta."""

    def parts(c: Classes) -> tuple[Tensor, Tensor]:
        """Of D(p || m) and D(q || m)."""
        step = _zero(c.difference / (beta * c.p + (1 - beta) * c.q))
        nearest = -1 + 2.0**-53  # where p = 0 this stands for -1: p log(p / m) is 0
        of_p = (step * (1 - beta)).clamp_(min=nearest).log1p_().mul_(c.p)
        of_q = (step * -beta).clamp_(min=nearest).log1p_().mul_(c.q)
        return of_p.mul_(beta), of_q.mul_(1 - beta)

    return Generator(
        name=f"jensen_shannon_divergence:beta={beta}",
        formula=r"\beta D(p \| m) + (1 - \beta) D(q \| m), \quad m = \beta p + (1 - \beta) q",
        source='J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Trans. Inf. Theory 37 (1991); with '
        'beta as in R. Agarwal et al., "On-Policy Distillation of Language Models" (2024), eq. 1',
        term=lambda c: torch.add(*parts(c)),
        slopes=parts,
        largest=-beta * math.log(beta) - (1 - beta) * math.log1p(-beta),
    )


@cache
def alpha_divergence(alpha: float) -> Generator:
    """The row of the table for one alpha: at 1 and 0 its limits, the two Kullback-Leibler divergences."""
    if alpha in (0, 1):
        return replace(KL if alpha else REVERSE_KL, name=f"alpha_divergence:alpha={alpha}", in_nats=False)
    scale = alpha * (alpha - 1)

    def rate(c: Classes) -> Tensor:
        return (alpha - 0.5) * c.delta.sign() - 0.5  # alpha - 1 where p > q, else -alpha

    def term(c: Classes) -> Tensor:
        powers = torch.expm1(rate(c) * c.delta.abs()).mul_(torch.maximum(c.p, c.q))  # less the larger of p and q
        return _infinite(powers).sub_(rate(c) * c.gap).div_(scale)

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        powers = torch.exp(rate(c) * c.delta.abs()).mul_(torch.maximum(c.p, c.q))
        return powers / (alpha - 1), powers / -alpha

    return Generator(
        name=f"alpha_divergence:alpha={alpha}",
        formula=r"\frac{\sum_i p_i^\alpha q_i^{1 - \alpha} - 1}{\alpha (\alpha - 1)}",
        source='S. Amari, "Differential-Geometrical Methods in Statistics" (1985), section 3.5; the form is that of '
        'A. Cichocki and S. Amari, "Families of Alpha- Beta- and Gamma- Divergences", Entropy 12 (2010), eq. 6',
        term=term,
        slopes=slopes,
        largest=1 / -scale if scale < 0 else math.inf,
        in_nats=False,
    )


@cache
def renyi(alpha: float) -> Generator:
    """The row of the table for one alpha > 0: at 1 its limit, the Kullback-Leibler divergence."""
    row = alpha_divergence(alpha)
    name, scale = f"renyi_divergence:alpha={alpha}", alpha * (alpha - 1)
    if alpha == 1:
        return replace(row, name=name, in_nats=True)

    def finish(total: Tensor, c: Classes) -> Tensor:
        excess = scale * total  # sum of p**alpha q**(1 - alpha), less 1
        powers = (alpha * c.log_p + (1 - alpha) * (c.log_p - c.delta)).nan_to_num_(nan=-math.inf, posinf=math.inf)
        far = torch.logsumexp(powers, -1)  # has more digits where the sum is near 0, and more room where it is large
        return torch.where(excess.abs() < 0.5, excess.log1p(), far) / (alpha - 1)

    return replace(
        row,
        name=name,
        formula=r"\frac{1}{\alpha - 1} \log \sum_i p_i^\alpha q_i^{1 - \alpha}",
        source='A. Rényi, "On Measures of Entropy and Information", Proc. 4th Berkeley Symp. (1961), eq. 3.3',
        largest=math.inf,
        in_nats=True,
        finish=finish,
        finish_slope=lambda value: alpha * ((1 - alpha) * value).exp(),
    )
