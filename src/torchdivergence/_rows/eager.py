"""Rows on any device, in plain torch and float64, a few at a time: what a block needs stays in the cache.

With the log-weights a and b of a row (logits, log-probabilities, or logarithms of probabilities)::

    p = softmax(a),  q = softmax(b),  delta = log(p / q) = (a - b) - (lse(a) - lse(b))
    D = sum_i p_i * g(delta_i)

The differences come before all else, a - max(a), b - max(b), then theirs: nearly equal floats subtract without
error, and those of 24 bits or fewer do so almost always, so delta is good to its last digits when it is small.
Every term is >= 0, so none of them cancel; and an error in lse moves D in second order.

A row's bits depend on that row alone. For this the order of every sum is fixed by the number of classes.
"""

from collections.abc import Iterator
from math import exp, inf, prod
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._generators import Generator

_BLOCK = 1 << 16  # numbers in a block
_SERIAL = 1 << 15  # a sum of fewer numbers is never shared out among torch's threads
_SEGMENT = 1 << 12
_FLOOR = -60.0  # of delta: below it a class counts q * g's limit, whatever p is, to one part in 1e24


class _Block(NamedTuple):
    """Rows of one block, ``[rows, classes]``."""

    delta: Tensor
    p: Tensor
    q: Tensor
    lse: Tensor
    """Of both sides, ``[2, rows]``: the logarithms of the sums of their weights."""


def divergence(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generator: Generator) -> Tensor:
    """See :func:`torchdivergence._rows.divergence`."""
    values = torch.empty(p.shape[:-1], dtype=torch.float64, device=p.device)
    for block in blocks(p.shape, _BLOCK):
        rows = _compare(_log_weights(p[block], q[block], log_prob, temperature))
        d = row_sums(generator.g(rows.delta).mul_(rows.p)).clamp_(min=0)
        d += rows.lse.mul(0).sum(0)  # NaN where p or q is no distribution
        values[block] = d.view(values[block].shape)
    return values


def gradients(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
    values: Tensor,
    slope: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of ``sum(slope * values)`` in p and in q.

    In the log-weights a and b they are ``p * (delta - D)`` and ``q - p``; in weights exp(a) and exp(b), these
    over the weights. They are zero for rows of slope zero and for infinite D. In a weight p = 0 the slope is
    that at p / q = exp(-60).
    """
    grad_p, grad_q = (torch.empty_like(x) if need else None for x, need in zip((p, q), needed, strict=True))
    for block in blocks(p.shape, _BLOCK):
        rows = _compare(_log_weights(p[block], q[block], log_prob, temperature))
        d, s = values[block].reshape(-1, 1), slope[block].reshape(-1, 1) / temperature
        flat = (s == 0) | (d == inf)
        mass_p, mass_q = rows.lse.exp().unsqueeze(-1)
        if grad_p is not None:
            part = rows.delta - d
            part = part.mul_(rows.p) if log_prob[0] else part.div_(mass_p)
            _store(grad_p[block], part.mul_(s).masked_fill_(flat, 0.0))
        if grad_q is not None:
            part = rows.q - rows.p if log_prob[1] else torch.expm1(rows.delta).neg_().div_(mass_q)
            _store(grad_q[block], part.mul_(s).masked_fill_(flat, 0.0))
    return grad_p, grad_q


def _store(grad: Tensor, part: Tensor) -> None:
    limit = torch.finfo(grad.dtype).max  # a slope past it stays finite
    grad.copy_(part.clamp_(-limit, limit).view(grad.shape))


def _log_weights(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float) -> Tensor:
    """A block's log-weights in float64, ``[2, rows, classes]``, in memory of their own."""
    weights = torch.empty(2, *p.shape, dtype=torch.float64, device=p.device)
    for x, given, is_log in zip(weights.unbind(), (p, q), log_prob, strict=True):
        x.copy_(given)
        if not is_log:
            x.log_()
    if temperature != 1:
        weights.div_(temperature)
    return weights.view(2, -1, p.shape[-1])


def _compare(weights: Tensor) -> _Block:
    """From log-weights, which are used up, to delta, p and q."""
    a, b = weights.unbind()
    top = weights.amax(-1, keepdim=True)
    weights.sub_(top)
    delta = a - b
    total = row_sums(weights.exp_()).unsqueeze(-1)
    log_total = total.log()
    delta.sub_(log_total[0] - log_total[1])
    delta.nan_to_num_(nan=0.0, posinf=inf, neginf=_FLOOR).clamp_(min=_FLOOR)  # NaN: a = b = -inf
    weights.div_(total)
    p = torch.maximum(a, b * exp(_FLOOR)).clamp_(min=torch.finfo(a.dtype).tiny)  # p > 0 = q is infinite
    return _Block(delta, p, b, (top + log_total).squeeze(-1))


def row_sums(x: Tensor) -> Tensor:
    """The sum along the last dimension. torch's own order for one long row depends on how many rows there are."""
    classes = x.shape[-1]
    if classes < _SERIAL:
        return x.sum(-1)
    segments = classes // _SEGMENT
    body, rest = x.tensor_split([segments * _SEGMENT], dim=-1)
    return body.view(*x.shape[:-1], segments, _SEGMENT).sum(-1).sum(-1, dtype=torch.float64) + rest.sum(-1)


def blocks(shape: torch.Size, size: int) -> Iterator[tuple[int | slice, ...]]:
    """Indices into the batch dimensions that cut out blocks, in order, without ever joining two dimensions.

    A block has at most ``size`` numbers, or one row if that has more.
    """
    batch, rows = shape[:-1], max(1, size // shape[-1])
    if prod(batch) <= rows:
        yield ()
    elif (inner := prod(batch[1:])) <= rows:
        step = rows // max(1, inner)
        yield from ((slice(start, start + step),) for start in range(0, batch[0], step))
    else:
        yield from ((i, *block) for i in range(batch[0]) for block in blocks(shape[1:], size))
