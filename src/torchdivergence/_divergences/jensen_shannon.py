"""Jensen-Shannon divergence with a weight beta of p in the mixture."""

import math

import torch
from torch import Tensor

from torchdivergence._divergences.pair import NormalizedPair
from torchdivergence._divergences.spec import Divergence, DivergenceSpec, Parameter, Term, declare


def _numerics(beta: float) -> Divergence:
    def summand(pair: NormalizedPair) -> Tensor:
        """From the larger and the smaller of p and q, their weights in the mixture m, and r = smaller / larger."""
        distance, p_is_larger = pair.delta.abs().clamp_(max=700), pair.delta > 0  # 1 / r stays finite
        weight_larger = torch.full_like(distance, 1 - beta).masked_fill_(p_is_larger, beta)
        weight_smaller = torch.full_like(distance, beta).masked_fill_(p_is_larger, 1 - beta)
        r, one_minus_r = torch.exp(-distance), torch.expm1(-distance).neg_()
        x = weight_smaller * one_minus_r  # m / larger = 1 - x
        log_larger = torch.where(x > 0.5, (weight_smaller * r).add_(weight_larger).log_(), x.neg().log1p_())
        log_larger.mul_(weight_larger)
        log_smaller = one_minus_r.mul_(weight_larger).div_(r).log1p_().mul_(r).mul_(weight_smaller)  # m / smaller
        return log_larger.add_(log_smaller).mul_(torch.maximum(pair.p, pair.q)).neg_()

    return Divergence(
        terms=(Term("jensen_shannon", summand, beta),),
        log_grads=lambda pair: pair.mixture_terms(beta),
        upper_bound=-beta * math.log(beta) - (1 - beta) * math.log1p(-beta),
    )


_HINT = (
    " At beta=0 generalized knowledge distillation means KL(p‖q), and at beta=1 KL(q‖p): use kl_divergence or "
    "reverse_kl_divergence."
)

JENSEN_SHANNON = declare(
    DivergenceSpec(
        function="jensen_shannon_divergence",
        metric="JensenShannonDivergence",
        summary="Jensen-Shannon divergence, generalized by a weight beta of p in the mixture.",
        notes="At beta = 1/2 a drop-in replacement for ``torchmetrics.regression.JensenShannonDivergence``. As beta "
        "goes to 0, value / beta goes to KL(p‖q); as beta goes to 1, value / (1 - beta) goes to KL(q‖p). The upper "
        "bound is -beta log(beta) - (1 - beta) log(1 - beta): log 2 at beta = 1/2.",
        formula=r"\beta\, \mathrm{KL}(p \,\|\, m) + (1 - \beta)\, \mathrm{KL}(q \,\|\, m), "
        r"\quad m = \beta p + (1 - \beta) q",
        source='J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Trans. Inf. Theory 37 (1991); with '
        'beta as in R. Agarwal et al., "On-Policy Distillation of Language Models" (2024), eq. 1',
        example="0.0225",
        parameter=Parameter(
            "beta",
            0,
            1,
            "Weight of p in the mixture m, between 0 and 1.",
            (0.1, 0.5, 0.9),
            example=0.5,
            default=0.5,
            hint=_HINT,
        ),
        numerics=_numerics,
    )
)
