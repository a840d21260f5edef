"""Kullback-Leibler divergence in both directions, and their sum."""

from torch import Tensor

from torchdivergence._divergences.pair import FLOOR, NormalizedPair, nan_to_inf_, nan_to_zero_
from torchdivergence._divergences.spec import Divergence, DivergenceSpec, Term, declare


def _reverse_kl(pair: NormalizedPair) -> Tensor:
    return nan_to_inf_(pair.delta.neg().clamp_(min=FLOOR).mul_(pair.q)).add_(pair.diff)


def _p_delta(pair: NormalizedPair) -> Tensor:
    """Derivative of KL with respect to log p."""
    return nan_to_zero_(pair.delta * pair.p)


def _minus_q_delta(pair: NormalizedPair) -> Tensor:
    return nan_to_zero_(pair.delta * -pair.q)


KL_TERM = Term("kl", lambda pair: nan_to_inf_(pair.delta.clamp(min=FLOOR).mul_(pair.p)).sub_(pair.diff))

KL = declare(
    DivergenceSpec(
        function="kl_divergence",
        metric="KLDivergence",
        summary="Kullback-Leibler divergence KL(p‖q).",
        notes="Drop-in replacement for ``torchmetrics.KLDivergence``, with the same order of arguments. It is "
        "infinite if q is 0 for a class where p is not.",
        formula=r"\sum_i p_i \log \frac{p_i}{q_i}",
        source='S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), '
        "eq. 2.4",
        example="0.0853",
        numerics=Divergence(terms=(KL_TERM,), log_grads=lambda pair: (_p_delta(pair), -pair.diff)),
    )
)

REVERSE_KL = declare(
    DivergenceSpec(
        function="reverse_kl_divergence",
        metric="ReverseKLDivergence",
        summary="Reverse Kullback-Leibler divergence KL(q‖p); the arguments stay in the order (p, q).",
        notes="It is infinite if p is 0 for a class where q is not.",
        formula=r"\sum_i q_i \log \frac{q_i}{p_i}",
        source=KL.source,
        example="0.0975",
        numerics=Divergence(
            terms=(Term("reverse_kl", _reverse_kl),), log_grads=lambda pair: (pair.diff, _minus_q_delta(pair))
        ),
    )
)

JEFFREYS = declare(
    DivergenceSpec(
        function="jeffreys_divergence",
        metric="JeffreysDivergence",
        summary="Jeffreys divergence KL(p‖q) + KL(q‖p).",
        notes="It is infinite if p or q is 0 for a class where the other is not.",
        formula=r"\sum_i (p_i - q_i) \log \frac{p_i}{q_i}",
        source='H. Jeffreys, "An invariant form for the prior probability in estimation problems", '
        "Proc. R. Soc. Lond. A 186 (1946)",
        example="0.1828",
        numerics=Divergence(
            terms=(Term("jeffreys", lambda pair: nan_to_inf_(pair.diff * pair.delta)),),
            log_grads=lambda pair: (_p_delta(pair) + pair.diff, _minus_q_delta(pair) - pair.diff),
        ),
    )
)
