"""Total variation and Hellinger distances."""

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
        notes="One minus the distance is the acceptance rate of speculative decoding when q drafts for p. "
        "The upper bound is 1.",
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
