"""The table of divergences: what each one makes of a class, in float64. It knows neither devices nor blocks.

Every divergence here is ``finish(sum over classes of term)``. The terms of an f-divergence ``sum_i q_i f(p_i / q_i)``
have the affine part of f taken out, which sums to zero: f(1) = f'(1) = 0. So each term is >= 0, none cancel, and an
error in the normalisation counts in second order only. They are spelled with ``delta = log(p / q)`` and with
``p - q``, which are known to their last digits when p and q are close, as the difference of p and q is not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from torchdivergence._classes import FLOOR, Classes, infinite, zero
from torchdivergence._sums import row_sums


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


def _reverse_kl(c: Classes) -> Tensor:
    return infinite(c.delta.neg().clamp_(min=FLOOR).mul_(c.q)).add_(c.difference)


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


def _sharpened(total: Tensor, c: Classes) -> Tensor:
    """Entropy of a row with one large p: from the sum of the others, which has more digits than its log p has."""
    large = c.p > 0.5
    log_large = torch.where(large, c.log_p, -math.inf).amax(-1)
    error = log_large - torch.log1p(-row_sums(c.p.masked_fill(large, 0.0)))
    return torch.where(log_large > -math.inf, total + error, total).clamp_(min=0)


KL = Generator(
    name="kl_divergence",
    formula=r"\sum_i p_i \log \frac{p_i}{q_i}",
    source='S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), eq. 2.4',
    term=lambda c: c.kl,
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
    term=lambda c: infinite(c.difference * c.delta),
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
    term=lambda c: zero(c.gap / (c.p.sqrt() + c.q.sqrt())).square_().div_(2),
    slopes=lambda c: ((c.p * c.q).sqrt() / -2,) * 2,
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
    term=_chi_squared,
    slopes=_chi_squared_slopes,
    in_nats=False,
)

ENTROPY = Generator(
    name="entropy",
    formula=r"-\sum_i p_i \log p_i",
    source='C. E. Shannon, "A Mathematical Theory of Communication", Bell Syst. Tech. J. 27 (1948), section 6',
    term=lambda c: c.entropy,
    slopes=lambda c: (zero(c.log_p * -c.p), torch.zeros_like(c.delta)),
    compares=False,
    finish=_sharpened,
)

CROSS_ENTROPY = Generator(
    name="cross_entropy",
    formula=r"-\sum_i p_i \log q_i",
    source='I. J. Good, "Rational Decisions", J. R. Stat. Soc. B 14 (1952)',
    term=lambda c: c.entropy + c.kl,
    slopes=lambda c: (zero((c.delta - c.log_p) * c.p), -c.difference),
    compares=False,
    finish=_sharpened,
)


@cache
def jensen_shannon(beta: float) -> Generator:
    """The row of the table for one beta."""

    def parts(c: Classes) -> tuple[Tensor, Tensor]:
        """Of D(p || m) and D(q || m)."""
        step = zero(c.difference / (beta * c.p + (1 - beta) * c.q))
        nearest = -1 + 2.0**-53  # where p = 0 this stands for -1: p log(p / m) is 0
        of_p = (step * (1 - beta)).clamp_(min=nearest).log1p_().mul_(c.p)
        of_q = (step * -beta).clamp_(min=nearest).log1p_().mul_(c.q)
        return of_p.mul_(beta), of_q.mul_(1 - beta)

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        of_p, of_q = parts(c)  # where one share is far below the other, log(p / m) has more digits by delta
        far_p = zero((c.delta - torch.log(beta * c.delta.exp() + (1 - beta))) * c.p * beta)
        far_q = zero((-c.delta - torch.log((1 - beta) * (-c.delta).exp() + beta)) * c.q * (1 - beta))
        return torch.where(c.delta < -30, far_p, of_p), torch.where(c.delta > 30, far_q, of_q)

    return Generator(
        name=f"jensen_shannon_divergence:beta={beta}",
        formula=r"\beta D(p \| m) + (1 - \beta) D(q \| m), \quad m = \beta p + (1 - \beta) q",
        source='J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Trans. Inf. Theory 37 (1991); with '
        'beta as in R. Agarwal et al., "On-Policy Distillation of Language Models" (2024), eq. 1',
        term=lambda c: torch.add(*parts(c)),
        slopes=slopes,
        largest=-beta * math.log(beta) - (1 - beta) * math.log1p(-beta),
    )


@cache
def alpha_divergence(alpha: float) -> Generator:
    """The row of the table for one alpha: at 1 and 0 its limits, the two Kullback-Leibler divergences."""
    if alpha in (0, 1):
        return replace(KL if alpha else REVERSE_KL, name=f"alpha_divergence:alpha={alpha}", in_nats=False)
    scale = alpha * (alpha - 1)

    near_p = alpha > 0.5
    rate = alpha - 1 if near_p else alpha  # the power is p exp(rate delta) and q exp(rate delta)

    def term(c: Classes) -> Tensor:
        share, x = c.p if near_p else c.q, rate * c.delta
        excess = torch.where(x.abs() > 1, _log_powers(c, alpha).exp_().sub_(share), torch.expm1(x).mul_(share))
        return excess.sub_(rate * c.difference).div_(scale)

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        powers = _log_powers(c, alpha).exp_()
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
        powers = _log_powers(c, alpha)
        top = powers.amax(-1, keepdim=True)
        far = top.squeeze(-1) + row_sums((powers - top).exp_()).log_()  # more digits near 0, more room where large
        far = torch.where(top.squeeze(-1).isinf(), top.squeeze(-1), far)
        return torch.where(excess.abs() < 0.5, excess.log1p(), far) / (alpha - 1)

    def slopes(c: Classes) -> tuple[Tensor, Tensor]:
        w = _log_powers(c, alpha).softmax(-1)
        return w * (alpha / (alpha - 1)), -w

    return replace(
        row,
        name=name,
        formula=r"\frac{1}{\alpha - 1} \log \sum_i p_i^\alpha q_i^{1 - \alpha}",
        source='A. Rényi, "On Measures of Entropy and Information", Proc. 4th Berkeley Symp. (1961), eq. 3.3',
        largest=math.inf,
        in_nats=True,
        finish=finish,
        slopes=slopes,
        finish_slope=torch.ones_like,
    )
