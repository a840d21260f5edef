"""Rows on any device, in plain torch and float64, a few at a time: what a block needs stays in the cache.

With the log-weights a and b of a row (logits, log-probabilities, or logarithms of probabilities)::

    p = softmax(a),  q = softmax(b),  delta = log(p / q) = (a - b) - (lse(a) - lse(b))
    D = sum of a term of p, q and delta over the classes

The differences come before all else, a - max(a), b - max(b), then theirs: nearly equal floats subtract without
error, and those of 24 bits or fewer do so almost always; and lse(a) - lse(b) comes from what the weights differ by. So
delta is good to its last digits when it is small. Every term is >= 0, so none of them cancel.

A row's bits depend on that row alone.
"""

from collections.abc import Iterator
from math import inf, prod

import torch
from torch import Tensor

from torchdivergence._divergences.pair import Classes
from torchdivergence._divergences.spec import Generator, Term
from torchdivergence._rows.ordered_sums import row_log_sums, row_sums

_BLOCK = 1 << 16  # numbers in a block
_LARGEST = torch.finfo(torch.float64).max


def suits(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, term: Term) -> bool:  # noqa: ARG001
    """Every row and every term."""
    return True


def sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """For each row the sums of some terms over the classes, ``[terms, *batch]`` in float64.

    They are NaN where p or q is no distribution.
    """
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    _keep_pages(p)
    for block in blocks(p.shape, _BLOCK):
        classes, valid = _compare(_log_weights(p[block], q[block], log_prob), temperature)
        for term, value in zip(terms, values, strict=True):
            summands = term.of(classes)
            total = row_log_sums(summands) if term.is_log else row_sums(summands).clamp_(min=0)
            value[block] = (total + valid).view(value[block].shape)
    return values


def gradients(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
    generator: Generator,
    values: Tensor,
    slope: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of ``sum(slope * values)`` in p and in q.

    A derivative h by the logarithm of a normalised p becomes ``h - p * sum(h)`` by the log-weight a, and that over
    exp(a) by the weight. Gradients are zero for rows of slope zero and of infinite value.
    """
    grads = tuple(torch.empty_like(x) if need else None for x, need in zip((p, q), needed, strict=True))
    sides = [(side, log_prob[side], grad) for side, grad in enumerate(grads) if grad is not None]
    _keep_pages(p)
    for block in blocks(p.shape, _BLOCK):
        classes, _ = _compare(_log_weights(p[block], q[block], log_prob), temperature, exact=False)
        value, outer = (x[block].reshape(-1, 1) for x in (values, slope))
        flat = (outer == 0) | (value == inf)
        outer = outer / temperature * generator.finish_slope(value)
        scales = {is_log: classes if is_log else classes.near_zero for _, is_log, _ in sides}
        slopes = {is_log: generator.slopes(c) for is_log, c in scales.items()}
        for side, is_log, grad in sides:
            share, part = (scales[is_log].p, scales[is_log].q)[side], slopes[is_log][side]
            part = part - share * row_sums(part).unsqueeze(-1)
            if not is_log:
                part = part.div_(share).div_(classes.log_mass[side].exp()).clamp_(-_LARGEST, _LARGEST)
            _store(grad[block], part.mul_(outer).masked_fill_(flat, 0.0))
    return grads[0], grads[1]


def _keep_pages(p: Tensor) -> None:
    """Has the C library keep what a block frees for the next, as fresh pages cost more than the arithmetic.

    glibc returns freed memory to the system until it has seen a large piece freed: see M_MMAP_THRESHOLD in mallopt(3).
    """
    if p.device.type == "cpu" and p.numel() > _BLOCK:
        torch.empty(31 << 20, dtype=torch.uint8, device=p.device)  # never touched, so it has no pages itself


def _store(grad: Tensor, part: Tensor) -> None:
    limit = torch.finfo(grad.dtype).max  # a slope past it stays finite
    grad.copy_(part.clamp_(-limit, limit).view(grad.shape))


def _log_weights(p: Tensor, q: Tensor, log_prob: tuple[bool, bool]) -> Tensor:
    """A block's log-weights in float64, ``[2, rows, classes]``, in memory of their own."""
    weights = torch.empty(2, *p.shape, dtype=torch.float64, device=p.device)
    for x, given, is_log in zip(weights.unbind(), (p, q), log_prob, strict=True):
        x.copy_(given)
        if not is_log:
            x.log_()
    return weights.view(2, -1, p.shape[-1])


def _compare(weights: Tensor, temperature: float, exact: bool = True) -> tuple[Classes, Tensor]:
    """From log-weights, which are used up; and for each row 0, or NaN where p or q is no distribution.

    If not exact, delta may be off by the rounding of the normalisers, which is enough for slopes.
    """
    top = weights.amax(-1, keepdim=True)
    valid = top.mul(0).sum(0).squeeze(-1)
    weights.sub_(top)
    delta = weights[0] - weights[1]
    if temperature != 1:
        top = (top / temperature).clamp_(-_LARGEST, _LARGEST)
        for x in (weights, delta):
            x.div_(temperature)
    delta.nan_to_num_(nan=0.0, posinf=inf, neginf=-inf)  # NaN: a = b = -inf
    shares = weights.exp()
    total = row_sums(shares).unsqueeze(-1)
    log_total = total.log()
    shift = log_total[0] - log_total[1]
    if exact:
        gap = torch.expm1(-delta.abs()).mul_(shares.amax(0)).neg_().copysign_(delta)
        excess = row_sums(gap).unsqueeze(-1).div_(total[0])  # of p's weights, with all its digits if it is small
        shift = torch.where(excess < 0.5, -torch.log1p(-excess), shift)
    delta.sub_(shift)
    p, q = shares.div_(total)
    log_p = weights[0].sub_(log_total[0])
    return Classes(p, q, log_p, delta, top + log_total), valid


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
