"""The table of divergences: what each one makes of a class, in float64. It knows neither devices nor blocks.

Every divergence here is a function of a sum over classes, or of a few. The terms of an f-divergence
``sum_i q_i f(p_i / q_i)`` have the affine part of f taken out, which sums to zero: f(1) = f'(1) = 0. So each term is
>= 0, none cancel, and an error in the normalisation counts in second order only. They are spelled with
``delta = log(p / q)`` and with ``p - q``, which are known to their last digits when p and q are close, as the
difference of p and q is not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from torchdivergence._divergences.pair import FLOOR, Classes, infinite, zero
from torchdivergence._extension import opaque


@dataclass(frozen=True, eq=False)
class Term:
    """What is summed over the classes of a row, and is >= 0."""

    name: str
    """A compiled engine has it under this name, if at all."""
    of: Callable[[Classes], Tensor]
    parameter: float = 0.0
    is_log: bool = False
    """Whether it is the logarithm of what is summed, and of any sign; then the logarithm of the sum is wanted."""


def _as_it_is(total: Tensor) -> Tensor:
    return total


@dataclass(frozen=True)
class Generator:
    """One divergence: a row of the table."""

    name: str
    """The function's name; after a colon its parameter, if it has one."""
    formula: str
    """In LaTeX."""
    source: str
    terms: tuple[Term, ...]
    slopes: Callable[[Classes], tuple[Tensor, Tensor]]
    """The derivatives of the sum by log p and by log q of a class, but for a constant times p, and one times q."""
    largest: float = math.inf
    """No value is larger."""
    in_nats: bool = True
    """Whether it is a logarithm, which has a unit."""
    compares: bool = True
    """Whether it is zero for equal rows."""
    finish: Callable[..., Tensor] = _as_it_is
    """From the sums of the terms to the value."""
    finish_slope: Callable[[Tensor], Tensor] = torch.ones_like
    """The derivative of that, as a function of the value."""


def _reverse_kl(c: Classes) -> Tensor:
    return infinite(c.delta.neg().clamp_(min=FLOOR).mul_(c.q)).add_(c.difference)


def _squared_hellinger(c: Classes) -> Tensor:
    return zero(c.gap / (c.p.sqrt() + c.q.sqrt())).square_().div_(2)


def _by_log_p(c: Classes) -> Tensor:
    return zero(c.delta * c.p)


def _by_log_q(c: Classes) -> Tensor:
    return zero(c.delta * -c.q)


def _chi_squared(c: Classes) -> Tensor:
    near = torch.expm1(c.delta).mul_(c.difference)
    far = (c.log_p + c.delta).exp_().mul_(torch.expm1(-c.delta).square_())  # p**2 / q may be a number where p is none
    return infinite(torch.where(c.delta > 1, far, near))


def _chi_squared_slopes(c: Classes) -> tuple[Tensor, Tensor]:
    ratio = (c.log_p + c.delta).exp_()  # p**2 / q
    return 2 * ratio, -ratio


def _log_powers(c: Classes, alpha: float) -> Tensor:
    """The logarithm of p**alpha q**(1 - alpha): where p = 0 < q the power is 0, or infinite if alpha < 0."""
    log = c.log_p + (alpha - 1) * c.delta
    return log.nan_to_num_(nan=math.inf if alpha < 0 else -math.inf, posinf=math.inf, neginf=-math.inf)


def _entropy(small: Tensor, share: Tensor) -> Tensor:
    """From the sums of the terms and of the shares of all classes but one with p > 1/2, if there is one.

    The logarithm of a p near 1 has more digits by way of what it lacks.
    """
    large = (1 - share) * -torch.log1p(-share)
    return small + torch.where(share < 0.75, large, 0.0)  # it is 1 if there is none, and 1 / 2 at most if there is


_KL = Term("kl", lambda c: infinite(c.delta.clamp(min=FLOOR).mul_(c.p)).sub_(c.difference))
_SMALL = (
    Term("small_entropy", lambda c: c.log_p.clamp(min=FLOOR).mul_(c.p).neg_().masked_fill_(c.p > 0.5, 0.0)),
    Term("small_share", lambda c: c.p.masked_fill(c.p > 0.5, 0.0)),
)

LOG_MASSES = (
    Term("log_mass_p", lambda c: c.log_mass[0], is_log=True),
    Term("log_mass_q", lambda c: c.log_mass[1], is_log=True),
)
"""The logarithms of the sums of weights, those of p and those of q: what a logit is more than its log-probability."""

KL = Generator(
    name="kl_divergence",
    formula=r"\sum_i p_i \log \frac{p_i}{q_i}",
    source='S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), eq. 2.4',
    terms=(_KL,),
    slopes=lambda c: (_by_log_p(c), -c.difference),
)

REVERSE_KL = Generator(
    name="reverse_kl_divergence",
    formula=r"\sum_i q_i \log \frac{q_i}{p_i}",
    source=KL.source,
    terms=(Term("reverse_kl", _reverse_kl),),
    slopes=lambda c: (c.difference, _by_log_q(c)),
)

JEFFREYS = Generator(
    name="jeffreys_divergence",
    formula=r"\sum_i (p_i - q_i) \log \frac{p_i}{q_i}",
    source='H. Jeffreys, "An invariant form for the prior probability in estimation problems", '
    "Proc. R. Soc. Lond. A 186 (1946)",
    terms=(Term("jeffreys", lambda c: infinite(c.difference * c.delta)),),
    slopes=lambda c: (_by_log_p(c) + c.difference, _by_log_q(c) - c.difference),
)

TOTAL_VARIATION = Generator(
    name="total_variation_distance",
    formula=r"\frac12 \sum_i |p_i - q_i|",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.4',
    terms=(Term("total_variation", lambda c: c.gap / 2),),
    slopes=lambda c: (c.delta.sign() * c.p / 2, c.delta.sign() * c.q / -2),
    largest=1.0,
    in_nats=False,
)

SQUARED_HELLINGER = Generator(
    name="squared_hellinger_distance",
    formula=r"\frac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.3, halved',
    terms=(Term("squared_hellinger", _squared_hellinger),),
    slopes=lambda c: ((c.p * c.q).sqrt() / -2,) * 2,
    largest=1.0,
    in_nats=False,
)

HELLINGER = replace(
    SQUARED_HELLINGER,
    name="hellinger_distance",
    formula=r"\sqrt{\tfrac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2}",
    finish=torch.sqrt,
    finish_slope=lambda value: torch.where(value > 0, 0.5 / value, 0.0),
)

CHI_SQUARED = Generator(
    name="chi_squared_divergence",
    formula=r"\sum_i \frac{(p_i - q_i)^2}{q_i}",
    source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), section 2.4, after K. Pearson (1900)',
    terms=(Term("chi_squared", _chi_squared),),
    slopes=_chi_squared_slopes,
    in_nats=False,
)

ENTROPY = Generator(
    name="entropy",
    formula=r"-\sum_i p_i \log p_i",
    source='C. E. Shannon, "A Mathematical Theory of Communication", Bell Syst. Tech. J. 27 (1948), section 6',
    terms=_SMALL,
    slopes=lambda c: (zero(c.log_p * -c.p), torch.zeros_like(c.delta)),
    compares=False,
    finish=_entropy,
)

CROSS_ENTROPY = Generator(
    name="cross_entropy",
    formula=r"-\sum_i p_i \log q_i",
    source='I. J. Good, "Rational Decisions", J. R. Stat. Soc. B 14 (1952)',
    terms=(*_SMALL, _KL),
    slopes=lambda c: (zero((c.delta - c.log_p) * c.p), -c.difference),
    compares=False,
    finish=lambda small, share, kl: _entropy(small, share) + kl,
)


@opaque
@cache
def jensen_shannon(beta: float) -> Generator:
    """The row of the table for one beta."""

    def term(c: Classes) -> Tensor:
        """From max(p, q), its weight in m and the other's, and r = min(p, q) / max(p, q)."""
        distance, by_p = c.delta.abs().clamp_(max=700), c.delta > 0  # 1 / r is a number
        large = torch.full_like(distance, 1 - beta).masked_fill_(by_p, beta)
        small = torch.full_like(distance, beta).masked_fill_(by_p, 1 - beta)
        r, gap = torch.exp(-distance), torch.expm1(-distance).neg_()
        lack = small * gap  # m / max(p, q) is 1 - lack
        log_m = torch.where(lack > 0.5, (small * r).add_(large).log_(), lack.neg().log1p_()).mul_(large)
        log_n = gap.mul_(large).div_(r).log1p_().mul_(r).mul_(small)  # of m / min(p, q)
        return log_m.add_(log_n).mul_(torch.maximum(c.p, c.q)).neg_()

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        step = zero(c.difference / (beta * c.p + (1 - beta) * c.q)).clamp_(-1 / (1 - beta), 1 / beta)
        nearest = -1 + 2.0**-53  # where p = 0 this stands for -1: p log(p / m) is 0
        of_p = (step * (1 - beta)).clamp_(min=nearest).log1p_().mul_(c.p * beta)
        of_q = (step * -beta).clamp_(min=nearest).log1p_().mul_(c.q * (1 - beta))
        # where one share is far below the other, log(p / m) has more digits by delta
        far_p = zero((c.delta - torch.log(beta * c.delta.exp() + (1 - beta))) * c.p * beta)
        far_q = zero((-c.delta - torch.log((1 - beta) * (-c.delta).exp() + beta)) * c.q * (1 - beta))
        return torch.where(c.delta < -30, far_p, of_p), torch.where(c.delta > 30, far_q, of_q)

    return Generator(
        name=f"jensen_shannon_divergence:beta={beta}",
        formula=r"\beta D(p \| m) + (1 - \beta) D(q \| m), \quad m = \beta p + (1 - \beta) q",
        source='J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Trans. Inf. Theory 37 (1991); with '
        'beta as in R. Agarwal et al., "On-Policy Distillation of Language Models" (2024), eq. 1',
        terms=(Term("jensen_shannon", term, beta),),
        slopes=slopes,
        largest=-beta * math.log(beta) - (1 - beta) * math.log1p(-beta),
    )


@opaque
@cache
def alpha_divergence(alpha: float) -> Generator:
    """The row of the table for one alpha: at 1 and 0 its limits, the two Kullback-Leibler divergences."""
    if alpha == 1 or abs(alpha) < 1e-300:
        return replace(KL if alpha == 1 else REVERSE_KL, name=f"alpha_divergence:alpha={alpha}", in_nats=False)
    scale = alpha * (alpha - 1)

    near_p = alpha > 0.5
    rate = alpha - 1 if near_p else alpha  # the power is p exp(rate delta) and q exp(rate delta)

    def term(c: Classes) -> Tensor:
        share, x = c.p if near_p else c.q, rate * c.delta
        excess = torch.where(x.abs() > 1, _log_powers(c, alpha).exp_().sub_(share), torch.expm1(x).mul_(share))
        return excess.sub_(rate * c.difference).div_(alpha).div_(alpha - 1)

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        powers = _log_powers(c, alpha).exp_()
        return powers / (alpha - 1), powers / -alpha

    return Generator(
        name=f"alpha_divergence:alpha={alpha}",
        formula=r"\frac{\sum_i p_i^\alpha q_i^{1 - \alpha} - 1}{\alpha (\alpha - 1)}",
        source='S. Amari, "Differential-Geometrical Methods in Statistics" (1985), section 3.5; the form is that of '
        'A. Cichocki and S. Amari, "Families of Alpha- Beta- and Gamma- Divergences", Entropy 12 (2010), eq. 6',
        terms=(Term("alpha", term, alpha),),
        slopes=slopes,
        largest=1 / -scale if scale < 0 else math.inf,
        in_nats=False,
    )


@opaque
@cache
def renyi(alpha: float) -> Generator:
    """The row of the table for one alpha > 0: at 1 its limit, the Kullback-Leibler divergence."""
    row = alpha_divergence(alpha)
    name, scale = f"renyi_divergence:alpha={alpha}", alpha * (alpha - 1)
    if alpha == 1:
        return replace(row, name=name, in_nats=True)

    def finish(total: Tensor, log_powers: Tensor) -> Tensor:
        excess = scale * total  # sum of p**alpha q**(1 - alpha), less 1
        # by its logarithm it has more digits near 0, and more room where it is large
        return (torch.where(excess.abs() < 0.5, excess.log1p(), log_powers) / (alpha - 1)).abs()  # no -0.0

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        w = _log_powers(c, alpha).softmax(-1)
        return w * (alpha / (alpha - 1)), -w

    return replace(
        row,
        name=name,
        formula=r"\frac{1}{\alpha - 1} \log \sum_i p_i^\alpha q_i^{1 - \alpha}",
        source='A. Rényi, "On Measures of Entropy and Information", Proc. 4th Berkeley Symp. (1961), eq. 3.3',
        terms=(*row.terms, Term("log_powers", lambda c: _log_powers(c, alpha), alpha, is_log=True)),
        slopes=slopes,
        largest=math.inf,
        in_nats=True,
        finish=finish,
        finish_slope=torch.ones_like,
    )
