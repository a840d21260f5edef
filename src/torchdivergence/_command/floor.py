"""Rows of llama.cpp's files, of which the classes below a floor are known by an upper bound only.

A softmax over such a row gives these classes too much, and so all others too little. Here they become one class, the
same ones in p and q. Its mass is 1 minus the mass of the other classes, so a target keeps the loss that was read. By
the data processing inequality the divergence is at most that of the full rows: what is lost is the divergence among the
classes at the floor.
"""

import math

import torch
from torch import Tensor

from torchdivergence._command.rows import Rows

_STEP = 16 / 65535
"""A code's step in log-probability, in a row with classes below its floor."""


def merge_floored(p: Rows, q: Rows, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities in which the classes at the floor of p or q are one class, which comes last.

    Classes that were merged have probability 0 in p and q. A target, and the most likely classes of p and q, stay.
    """
    floored = [side.at_floor for side in (p, q) if side.at_floor is not None]
    merged = torch.stack(floored).any(0)
    for kept in (target, p.logits.argmax(-1), q.logits.argmax(-1)):
        merged.scatter_(-1, kept[..., None], False)
    first, second = (_with_one_class(side, merged) for side in (p, q))
    return first, second


def _with_one_class(side: Rows, merged: Tensor) -> Tensor:
    logits = side.logits.double() if side.at_floor is not None else side.logits.double().log_softmax(-1)
    probabilities = logits.exp()
    kept, as_read = (probabilities.masked_fill(mask, 0) for mask in (merged, ~merged))
    high = low = as_read.sum(-1)
    if side.at_floor is not None:
        low = as_read.masked_fill_(side.at_floor, 0).sum(-1)
    squares = kept.square().sum(-1) - kept.amax(-1).square()  # the code of the largest logit is exact
    error = _STEP * squares.clamp_min(0).div(12).sqrt()
    rest = _truncated_mean(1 - kept.sum(-1), error, low, high)
    return torch.cat([logits.masked_fill(merged, -math.inf), rest.log()[..., None]], -1)


def _truncated_mean(center: Tensor, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The mean of a normal distribution that is truncated to an interval: inside it, however large the error."""
    error = error.clamp_min(1e-12)
    center = torch.maximum(torch.minimum(center, high + 3 * error), low - 3 * error)
    a, b = (low - center) / error, (high - center) / error
    density, cumulative = (
        (torch.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (a, b)),
        map(torch.special.ndtr, (a, b)),
    )
    (at_a, at_b), (to_a, to_b) = density, cumulative
    mean = center + error * (at_a - at_b) / (to_b - to_a)
    return torch.where(b - a > 1e-3, mean, (low + high) / 2)
