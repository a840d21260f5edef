"""Entropy and cross-entropy: not divergences, but KL(p‖q) is the second minus the first."""

import torch
from torch import Tensor

from torchdivergence._divergences.kullback_leibler import KL_TERM
from torchdivergence._divergences.pair import FLOOR, NormalizedPair, nan_to_zero_
from torchdivergence._divergences.spec import Divergence, DivergenceSpec, Term, declare

# A class with p > 1/2 is left out of both sums: log p near p = 1 is more accurate from the sum of the others.
_SMALL = (
    Term("small_entropy", lambda pair: pair.log_p.clamp(min=FLOOR).mul_(pair.p).neg_().masked_fill_(pair.p > 0.5, 0.0)),
    Term("small_share", lambda pair: pair.p.masked_fill(pair.p > 0.5, 0.0)),
)


def _entropy(small_entropy: Tensor, small_share: Tensor) -> Tensor:
    largest = (1 - small_share) * -torch.log1p(-small_share)
    # the share is 1 if no class has p > 1/2, and below 1/2 if there is one
    return small_entropy + torch.where(small_share < 0.75, largest, 0.0)


ENTROPY = declare(
    DivergenceSpec(
        function="entropy",
        metric="Entropy",
        summary="Shannon entropy of p.",
        notes="q may be left out: its values are checked and otherwise ignored.",
        formula=r"-\sum_i p_i \log p_i",
        source='C. E. Shannon, "A Mathematical Theory of Communication", Bell Syst. Tech. J. 27 (1948), section 6',
        example="1.0133",
        zero_iff_equal=False,
        needs_q=False,
        numerics=Divergence(
            terms=_SMALL,
            log_grads=lambda pair: (nan_to_zero_(pair.log_p * -pair.p), torch.zeros_like(pair.delta)),
            finalize=_entropy,
        ),
    )
)


def _cross_entropy_log_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
    return nan_to_zero_((pair.delta - pair.log_p) * pair.p), -pair.diff


CROSS_ENTROPY = declare(
    DivergenceSpec(
        function="cross_entropy",
        metric="CrossEntropy",
        summary="Cross-entropy of q with soft targets p.",
        notes="It is the entropy of p plus KL(p‖q), and is computed so.",
        formula=r"-\sum_i p_i \log q_i",
        source='I. J. Good, "Rational Decisions", J. R. Stat. Soc. B 14 (1952)',
        example="1.0986",
        zero_iff_equal=False,
        numerics=Divergence(
            terms=(*_SMALL, KL_TERM),
            log_grads=_cross_entropy_log_grads,
            finalize=lambda small_entropy, small_share, kl: _entropy(small_entropy, small_share) + kl,
        ),
    )
)
