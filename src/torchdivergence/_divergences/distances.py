"""Total variation and Hellinger distances, and the expected acceptance, which is one minus the total variation."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from torchdivergence._divergences.pair import NormalizedPair, nan_to_zero_
from torchdivergence._divergences.spec import Accuracy, Divergence, DivergenceSpec, Term, declare

FIRST_ORDER = Accuracy(float64_floor=1e-3)
"""Of distances that are of first order in p - q."""


def _squared_hellinger(pair: NormalizedPair) -> Tensor:
    return nan_to_zero_(pair.abs_diff / (pair.p.sqrt() + pair.q.sqrt())).square_().div_(2)


_SQUARED_HELLINGER = Divergence(
    terms=(Term("squared_hellinger", _squared_hellinger),),
    log_grads=lambda pair: (pair.geometric_mean / -2,) * 2,
    upper_bound=1.0,
)

TOTAL_VARIATION = declare(
    DivergenceSpec(
        function="total_variation_distance",
        metric="TotalVariationDistance",
        summary="Total variation distance.",
        notes="The upper bound is 1. One minus the distance is the expected acceptance.",
        formula=r"\frac12 \sum_i |p_i - q_i|",
        source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.4',
        example="0.1733",
        has_log_unit=False,
        accuracy=FIRST_ORDER,
        numerics=Divergence(
            terms=(Term("total_variation", lambda pair: pair.abs_diff / 2),),
            log_grads=lambda pair: (pair.delta.sign() * pair.p / 2, pair.delta.sign() * pair.q / -2),
            upper_bound=1.0,
        ),
    )
)

# Rounding makes the sum of p differ from 1. The quotient by it is exactly 1 for equal rows.
EXPECTED_ACCEPTANCE = declare(
    DivergenceSpec(
        function="expected_acceptance",
        metric="ExpectedAcceptance",
        summary="Expected acceptance rate of speculative decoding.",
        notes="It is the probability that a token drafted from q is accepted when p is the target, and one minus the "
        "total variation distance. It is a similarity: 1 if p and q hold the same numbers, 0 if no class has mass in "
        "both.",
        formula=r"\sum_i \min(p_i, q_i)",
        source='Y. Leviathan, M. Kalman and Y. Matias, "Fast Inference from Transformers via Speculative Decoding", '
        "ICML (2023), section 3.2",
        example="0.8267",
        has_log_unit=False,
        zero_iff_equal=False,
        higher_is_better=True,
        numerics=Divergence(
            terms=(
                Term("overlap", lambda pair: torch.minimum(pair.p, pair.q)),
                Term("mass_of_p", lambda pair: pair.p),
            ),
            log_grads=lambda pair: (pair.delta.sign() * pair.p / -2, pair.delta.sign() * pair.q / 2),
            upper_bound=1.0,
            finalize=lambda overlap, mass_of_p: overlap / mass_of_p,
        ),
    )
)

SQUARED_HELLINGER = declare(
    DivergenceSpec(
        function="squared_hellinger_distance",
        metric="SquaredHellingerDistance",
        summary="Squared Hellinger distance.",
        notes="The upper bound is 1.",
        formula=r"\frac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2",
        source='A. B. Tsybakov, "Introduction to Nonparametric Estimation" (2009), definition 2.3, halved',
        example="0.0226",
        has_log_unit=False,
        numerics=_SQUARED_HELLINGER,
    )
)

HELLINGER = declare(
    DivergenceSpec(
        function="hellinger_distance",
        metric="HellingerDistance",
        summary="Hellinger distance.",
        notes="The upper bound is 1.",
        formula=r"\sqrt{\tfrac12 \sum_i \bigl(\sqrt{p_i} - \sqrt{q_i}\bigr)^2}",
        source=SQUARED_HELLINGER.source,
        example="0.1505",
        has_log_unit=False,
        accuracy=FIRST_ORDER,
        numerics=replace(
            _SQUARED_HELLINGER,
            finalize=torch.sqrt,
            finalize_grad=lambda value: 0.5 / value.masked_fill(value == 0, math.inf),
        ),
    )
)
