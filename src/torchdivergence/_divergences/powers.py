"""Divergences made of powers of p / q: chi-squared, alpha and Rényi."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from torchdivergence._divergences.kullback_leibler import KL, REVERSE_KL
from torchdivergence._divergences.pair import NormalizedPair, nan_to_inf_
from torchdivergence._divergences.spec import Accuracy, Divergence, DivergenceSpec, Parameter, Term, declare

_POWERS = Accuracy(powers=True)
_LEAST_ALPHA = 1e-300  # below it alpha * (alpha - 1) loses its digits: the limit at 0


def _chi_squared(pair: NormalizedPair) -> Tensor:
    near = torch.expm1(pair.delta).mul_(pair.diff)
    far = (pair.log_p + pair.delta).exp_().mul_(torch.expm1(-pair.delta).square_())  # finite where p underflows
    return nan_to_inf_(torch.where(pair.delta > 1, far, near))


def _chi_squared_log_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
    ratio = pair.log_powers(2).exp()  # p**2 / q
    return 2 * ratio, -ratio


CHI_SQUARED = declare(
    DivergenceSpec(
        function="chi_squared_divergence",
        metric="ChiSquaredDivergence",
        summary="Pearson's chi-squared divergence.",
        notes="It is infinite if q is 0 for a class where p is not.",
        formula=r"\sum_i \frac{(p_i - q_i)^2}{q_i}",
        source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), section 2.4, after '
        "K. Pearson (1900)",
        example="0.1568",
        has_log_unit=False,
        accuracy=_POWERS,
        numerics=Divergence(terms=(Term("chi_squared", _chi_squared),), log_grads=_chi_squared_log_grads),
    )
)


def _alpha(alpha: float) -> Divergence:
    if alpha == 1 or abs(alpha) < _LEAST_ALPHA:
        return (KL if alpha == 1 else REVERSE_KL).at()
    scale = alpha * (alpha - 1)
    near_p = alpha > 0.5
    rate = alpha - 1 if near_p else alpha  # the power is p exp(rate delta), and q exp(rate delta)

    def summand(pair: NormalizedPair) -> Tensor:
        weight, x = pair.p if near_p else pair.q, rate * pair.delta
        excess = torch.where(x.abs() > 1, pair.log_powers(alpha).exp_().sub_(weight), torch.expm1(x).mul_(weight))
        return excess.sub_(rate * pair.diff).div_(alpha).div_(alpha - 1)

    def log_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
        powers = pair.log_powers(alpha).exp()
        return powers / (alpha - 1), powers / -alpha

    return Divergence(
        terms=(Term("alpha", summand, alpha),),
        log_grads=log_grads,
        upper_bound=1 / -scale if scale < 0 else math.inf,
    )


ALPHA = declare(
    DivergenceSpec(
        function="alpha_divergence",
        metric="AlphaDivergence",
        summary="Alpha-divergence.",
        notes="At alpha = 1 it is KL(p‖q), at 0 KL(q‖p), at 2 half the chi-squared divergence, and at 1/2 four times "
        "the squared Hellinger distance. For 0 < alpha < 1 the upper bound is 1 / (alpha (1 - alpha)).",
        formula=r"\frac{\sum_i p_i^\alpha q_i^{1 - \alpha} - 1}{\alpha (\alpha - 1)}",
        source='S. Amari, "Differential-Geometrical Methods in Statistics" (1985), section 3.5; the form is from '
        'A. Cichocki and S. Amari, "Families of Alpha- Beta- and Gamma- Divergences", Entropy 12 (2010), eq. 6',
        example="0.0784",
        parameter=Parameter(
            "alpha", -math.inf, math.inf, "Any finite number.", (-0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0), example=2
        ),
        has_log_unit=False,
        accuracy=_POWERS,
        numerics=_alpha,
    )
)


def _renyi(alpha: float) -> Divergence:
    numerics, scale = ALPHA.at(alpha), alpha * (alpha - 1)
    if alpha == 1:
        return numerics

    def finalize(alpha_divergence: Tensor, log_powers: Tensor) -> Tensor:
        excess = scale * alpha_divergence  # sum of p**alpha q**(1 - alpha), minus 1
        # more accurate near 0 as log1p(excess), and without overflow as the log-sum-exp
        return (torch.where(excess.abs() < 0.5, excess.log1p(), log_powers) / (alpha - 1)).abs()  # no -0.0

    def log_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
        w = pair.log_powers(alpha).softmax(-1)
        return w * (alpha / (alpha - 1)), -w

    log_powers = Term("log_powers", lambda pair: pair.log_powers(alpha), alpha, log_domain=True)
    return replace(
        numerics,
        terms=(*numerics.terms, log_powers),
        log_grads=log_grads,
        upper_bound=math.inf,
        finalize=finalize,
        finalize_grad=torch.ones_like,
    )


RENYI = declare(
    DivergenceSpec(
        function="renyi_divergence",
        metric="RenyiDivergence",
        summary="Rényi divergence of order alpha > 0.",
        notes="At alpha = 1 it is KL(p‖q).",
        formula=r"\frac{1}{\alpha - 1} \log \sum_i p_i^\alpha q_i^{1 - \alpha}",
        source='A. Rényi, "On Measures of Entropy and Information", Proc. 4th Berkeley Symp. (1961), eq. 3.3',
        example="0.1457",
        parameter=Parameter("alpha", 0, math.inf, "Order, above 0.", (0.3, 0.5, 1.0, 2.0, 3.0), example=2),
        accuracy=_POWERS,
        numerics=_renyi,
    )
)
