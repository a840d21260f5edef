"""Per-token quantities of two language models: their most likely tokens, and the log-probabilities of the target."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TARGET_COLUMNS = ("loss_p", "loss_q", "log_ratio", "delta_p", "delta_p_squared")
"""Of the target t: -log p_t, -log q_t, log(p_t / q_t), q_t - p_t and its square."""

CORRECTNESS_COLUMNS = (
    *("accuracy_p", "accuracy_q", "accuracy_difference"),
    *("both_correct", "worsened", "improved", "both_wrong_differently"),
)
"""Whether the most likely class of p, of q, is the target; the second minus the first; and cases that exclude each
other: that of both is, of p alone, of q alone, and of neither, where the two classes differ."""


def ranking_columns(
    p: Tensor, q: Tensor, tops: Sequence[Tensor], top_k: Sequence[int], target: Tensor | None
) -> dict[str, Tensor]:
    """The agreement on the most likely classes for each k, and with targets CORRECTNESS_COLUMNS.

    Args:
        p: Classes last.
        q: Likewise.
        tops: The most likely class of each row in p and in q. They are not needed if 1 is not in ``top_k`` and there
            is no target.
        top_k: Numbers of classes to compare.
        target: Indices of classes, ``[*batch]``.
    """
    columns = {f"top_{k}_agreement": (tops[0] == tops[1]).double() if k == 1 else top_k_overlap(p, q, k) for k in top_k}
    return columns if target is None else columns | correctness_columns(tops, target)


def correctness_columns(tops: Sequence[Tensor], target: Tensor) -> dict[str, Tensor]:
    """CORRECTNESS_COLUMNS of each row, from the most likely classes of p and of q."""
    same, p, q = ((x == y).double() for x, y in (tops, (tops[0], target), (tops[1], target)))
    both = p * q
    worsened, improved = p - both, q - both
    numbers = p, q, q - p, both, worsened, improved, 1 - same - worsened - improved
    return dict(zip(CORRECTNESS_COLUMNS, numbers, strict=True))


def top_k_overlap(p: Tensor, q: Tensor, k: int) -> Tensor:
    """Share of the k most likely classes of p that are among those of q, for each row."""
    if k > p.shape[-1]:
        raise ValueError(f"there must be at least {k} classes for the top {k}, but p is {tuple(p.shape)}.")
    topk_p, topk_q = p.topk(k).indices, q.topk(k).indices
    return (topk_p.unsqueeze(-1) == topk_q.unsqueeze(-2)).any(-1).double().mean(-1)


def target_columns(
    sides: tuple[Tensor, Tensor],
    log_masses: Sequence[Tensor],
    target: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
) -> dict[str, Tensor]:
    """TARGET_COLUMNS of each row; NaN where the target is no class.

    Args:
        sides: p and q, classes last.
        log_masses: The logarithms of their normalizers.
        target: Indices of classes, ``[*batch]``.
        log_prob: For p and for q, whether they hold logarithms.
        temperature: Divides the logits.
    """
    index = target.long().clamp(0, sides[0].shape[-1] - 1)
    outside = index != target
    losses = []
    for x, log_mass, is_log in zip(sides, log_masses, log_prob, strict=True):
        weight = x.gather(-1, index.unsqueeze(-1)).squeeze(-1).double()
        if not is_log:
            weight = weight.log()
        elif temperature != 1:
            weight = weight / temperature
        losses.append((log_mass - weight).clamp_(min=0).masked_fill_(outside, math.nan))
    loss_p, loss_q = losses
    log_ratio = loss_q - loss_p
    p, q = (loss.neg().exp_() for loss in losses)
    delta = torch.where(log_ratio.abs() < 1, torch.expm1(-log_ratio).mul_(p), q - p)
    return dict(zip(TARGET_COLUMNS, (loss_p, loss_q, log_ratio, delta, delta.square()), strict=True))
