"""What one language model says of a token and another does not: agreement on the likeliest, the right token's odds."""

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._inputs.arguments import Rows, Settings
from torchdivergence._report.values import estimate_names, estimate_values
from torchdivergence._states.moments import Estimate

TARGET_COLUMNS = ("loss_p", "loss_q", "log_ratio", "delta_p", "delta_p_squared")


def check_top_k(top_k: int | Sequence[int]) -> tuple[int, ...]:
    """Sorted, each once."""
    numbers = sorted({operator.index(k) for k in ([top_k] if isinstance(top_k, int) else top_k)})
    if numbers and numbers[0] < 1:
        raise ValueError(f"each of top_k must be at least 1, but got {numbers[0]}.")
    return tuple(numbers)


def agreement(p: Tensor, q: Tensor, k: int) -> Tensor:
    """For each row, the share of the k likeliest classes of p that are among those of q."""
    if k == 1:  # of equal ones the first
        return (p.max(-1).indices == q.max(-1).indices).double()
    if k > p.shape[-1]:
        raise ValueError(f"there must be at least {k} classes for the top {k}, but p is {tuple(p.shape)}.")
    ours, theirs = p.topk(k).indices, q.topk(k).indices
    return (ours.unsqueeze(-1) == theirs.unsqueeze(-2)).any(-1).double().mean(-1)


def target_columns(rows: Rows, target: Tensor, log_masses: Sequence[Tensor], settings: Settings) -> Tensor:
    """For each row TARGET_COLUMNS: -log of the target's probability in p and in q; and by how much q has more of it."""
    losses = []
    outside = (target < 0) | (target >= rows.p.shape[-1])
    index = target.long().masked_fill(outside, 0).unsqueeze(-1)
    for x, log_mass, is_log in zip(rows[:2], log_masses, settings.log_prob, strict=True):
        weight = x.gather(-1, index).squeeze(-1).double()
        loss = log_mass - (weight / settings.temperature if is_log else weight.log())
        losses.append(loss.clamp(min=0).masked_fill(outside, math.nan))
    loss_p, loss_q = losses
    log_ratio = loss_q - loss_p
    p, q = (-loss_p).exp(), (-loss_q).exp()
    delta = torch.where(log_ratio.abs() < 1, p * torch.expm1(-log_ratio), q - p)
    return torch.stack([loss_p, loss_q, log_ratio, delta, delta.square()])


class TargetSummary(NamedTuple):
    """What the targets say, over all rows."""

    perplexity_p: Estimate
    perplexity_q: Estimate
    log_perplexity_ratio: Estimate
    perplexity_ratio: Estimate
    perplexity_difference: Estimate
    log_perplexity_correlation: float
    delta_p_mean: Estimate
    delta_p_rms: Estimate

    @classmethod
    def of(cls, means: Sequence[Estimate]) -> "TargetSummary":
        """From the means of TARGET_COLUMNS. A function f of a mean has the error of the mean times f'."""
        loss_p, loss_q, log_ratio, delta, squared = means
        p, q, ratio = (_exp(x.value) for x in (loss_p, loss_q, log_ratio))
        rms = math.sqrt(squared.value)
        kinds = list(zip(loss_p[1:], loss_q[1:], log_ratio[1:], strict=True))
        return cls(
            perplexity_p=loss_p.scaled(p, value=p),
            perplexity_q=loss_q.scaled(q, value=q),
            log_perplexity_ratio=log_ratio,
            perplexity_ratio=log_ratio.scaled(ratio, value=ratio),
            perplexity_difference=Estimate(q - p, *(_difference_error(*errors, p, q) for errors in kinds)),
            log_perplexity_correlation=_correlation(*kinds[0]),
            delta_p_mean=delta,
            delta_p_rms=squared.scaled(0.5 / rms if rms else 0.0, value=rms),
        )

    @classmethod
    def names(cls) -> list[str]:
        """The names of all values."""
        single = "log_perplexity_correlation"
        return [x for name in cls._fields for x in ([name] if name == single else estimate_names(name))]

    def values(self) -> dict[str, float]:
        """All under their names."""
        values: dict[str, float] = {}
        for name, value in self._asdict().items():
            values |= estimate_values(value, name) if isinstance(value, Estimate) else {name: value}
        return values


def _difference_error(error_p: float, error_q: float, error_ratio: float, p: float, q: float) -> float:
    """Of exp(Q) - exp(P), from the errors of P, of Q and of Q - P, by the slopes in P and in Q - P."""
    covariance = (error_q * error_q - error_p * error_p - error_ratio * error_ratio) / 2
    slope = q - p
    variance = slope * slope * error_p * error_p + q * q * error_ratio * error_ratio + 2 * slope * q * covariance
    return math.nan if math.isnan(variance) else math.sqrt(max(variance, 0))


def _correlation(error_p: float, error_q: float, error_ratio: float) -> float:
    product = 2 * error_p * error_q
    return (error_p * error_p + error_q * error_q - error_ratio * error_ratio) / product if product else math.nan


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
