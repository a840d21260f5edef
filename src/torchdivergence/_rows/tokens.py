"""Per-token quantities of two language models: their most likely tokens, and the log-probabilities of the target."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torchdivergence._backends import REFERENCE, selected
from torchdivergence._layout import CORRECTNESS_COLUMNS, TARGET_COLUMNS
from torchdivergence._rows import native
from torchdivergence._rows.operators import triton_for


def agreement_columns(p: Tensor, q: Tensor, tops: Sequence[Tensor], top_k: Sequence[int]) -> dict[str, Tensor]:
    """The agreement on the most likely classes for each k. ``tops``, the most likely one of each, is for k = 1."""
    return {f"top_{k}_agreement": (tops[0] == tops[1]).double() if k == 1 else top_k_overlap(p, q, k) for k in top_k}


def top_k_overlap(p: Tensor, q: Tensor, k: int) -> Tensor:
    """Share of the k most likely classes of p that are among those of q, for each row."""
    if k > p.shape[-1]:
        raise ValueError(f"there must be at least {k} classes for the top {k}, but p is {tuple(p.shape)}.")
    topk_p, topk_q = p.topk(k).indices, q.topk(k).indices
    return (topk_p.unsqueeze(-1) == topk_q.unsqueeze(-2)).any(-1).double().mean(-1)


def target_columns(
    sides: tuple[Tensor, Tensor],
    log_masses: Sequence[Tensor],
    tops: Sequence[Tensor],
    target: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
) -> dict[str, Tensor]:
    """TARGET_COLUMNS, which are NaN where the target is no class, and CORRECTNESS_COLUMNS of each row.

    Args:
        sides: p and q, classes last.
        log_masses: The logarithms of their normalizers.
        tops: Their most likely classes.
        target: Indices of classes, ``[*batch]``.
        log_prob: For p and for q, whether they hold logarithms.
        temperature: Divides the logits.
    """
    if (kernels := triton_for(*sides)) and kernels.supports_tokens(*sides):
        found: dict[str, Tensor] = kernels.token_columns(sides, log_masses, tops, target, log_prob, temperature)
        return found
    target = target.long()
    weights = [_element(x, target) for x in sides]
    if selected() != REFERENCE and native.supports_tokens((*log_masses, *tops), temperature):
        known = zip(weights, log_masses, tops, strict=True)
        return native.token_columns(known, log_prob, temperature, target)
    logs = (x / temperature if is_log else x.log() for x, is_log in zip(weights, log_prob, strict=True))
    losses = ((log_mass - log).clamp(min=0) for log_mass, log in zip(log_masses, logs, strict=True))
    return _probability_columns(*losses) | _correctness_columns(tops, target)


def _element(x: Tensor, target: Tensor) -> Tensor:
    """The element of the target in each row, float64; NaN where the target is no class."""
    index = target.clamp(0, x.shape[-1] - 1)
    return x.gather(-1, index.unsqueeze(-1)).squeeze(-1).double().masked_fill(index != target, math.nan)


def _probability_columns(loss_p: Tensor, loss_q: Tensor) -> dict[str, Tensor]:
    log_ratio = loss_q - loss_p
    p, q = (-loss_p).exp(), (-loss_q).exp()
    delta = torch.where(log_ratio.abs() < 1, p * torch.expm1(-log_ratio), q - p)
    return dict(zip(TARGET_COLUMNS, (loss_p, loss_q, log_ratio, delta, delta.square()), strict=True))


def _correctness_columns(tops: Sequence[Tensor], target: Tensor) -> dict[str, Tensor]:
    p, q = (top == target for top in tops)
    numbers = p, q, q.double() - p.double(), p & q, p & ~q, q & ~p, ~p & ~q & (tops[0] != tops[1])
    return {name: x.double() for name, x in zip(CORRECTNESS_COLUMNS, numbers, strict=True)}
