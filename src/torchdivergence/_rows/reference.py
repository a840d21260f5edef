"""The reference backend: rows on any device, in plain PyTorch and float64.

With the log-weights a and b of a row (logits, log-probabilities, or logarithms of probabilities)::

    p = softmax(a),  q = softmax(b),  delta = log(p / q) = (a - b) - (lse(a) - lse(b))
    D = sum over the classes of a summand made of p, q and delta

Differences come first: a - max(a) and b - max(b), then their difference. Nearly equal floats subtract without error,
and floats of 24 bits or fewer do so in float64 almost always; lse(a) - lse(b) comes from the difference of the weights.
So a small delta is accurate to its last digits. Every summand is >= 0: there is no cancellation.

Rows are computed in blocks, which fit in the cache of a CPU. The bits of a row do not depend on the rest of the batch.
"""

from collections.abc import Iterator
from math import inf, prod

import torch
from torch import Tensor

from torchdivergence._divergences import Divergence, Term
from torchdivergence._divergences.pair import NormalizedPair
from torchdivergence._rows.ordered_sums import row_logsumexp, row_sums

_BLOCK = 1 << 16  # numbers in a block
_DEVICE_BLOCK = 1 << 24  # off the CPU, where the launch of an operation costs as much as a million numbers
_LARGEST = torch.finfo(torch.float64).max


def supports(
    p: Tensor,  # noqa: ARG001
    q: Tensor,  # noqa: ARG001
    log_prob: tuple[bool, bool],  # noqa: ARG001
    temperature: float,  # noqa: ARG001
    term: Term,  # noqa: ARG001
) -> bool:
    """True: any tensors and any term."""
    return True


def term_sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """Sums of some terms over the classes of each row, ``[terms, *batch]`` in float64; NaN for invalid rows."""
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    _keep_pages(p)
    for block in blocks(p.shape, _block_size(p)):
        pair, nan_if_invalid = _normalize((p[block], q[block]), log_prob, temperature)
        for term, value in zip(terms, values, strict=True):
            summands = term.summand(pair)
            term_sum = row_logsumexp(summands) if term.log_domain else row_sums(summands).clamp_(min=0)
            value[block] = (term_sum + nan_if_invalid).view(value[block].shape)
    return values


def supports_gradients(*_: object) -> bool:
    """True: any tensors and any divergence."""
    return True


def gradients(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
    divergence: Divergence,
    values: Tensor,
    log_masses: Tensor,  # noqa: ARG001
    grad_output: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``sum(grad_output * values)`` with respect to p and q.

    A derivative h with respect to the logarithm of a normalized p becomes ``h - p * sum(h)`` with respect to the
    log-weight a, and that over exp(a) with respect to the weight. Gradients are zero for rows whose grad_output is zero
    and for rows of infinite value.
    """
    grads = tuple(torch.empty_like(x) if need else None for x, need in zip((p, q), needed, strict=True))
    sides = [(side, log_prob[side], grad) for side, grad in enumerate(grads) if grad is not None]
    _keep_pages(p)
    for block in blocks(p.shape, _block_size(p)):
        pair, _ = _normalize((p[block], q[block]), log_prob, temperature, exact=False)
        value, outer = (x[block].reshape(-1, 1) for x in (values, grad_output))
        zero_rows = (outer == 0) | (value == inf)
        outer = outer / temperature * divergence.finalize_grad(value)
        pairs = {is_log: pair if is_log else pair.with_finite_ratios for _, is_log, _ in sides}
        log_grads = {is_log: divergence.log_grads(x) for is_log, x in pairs.items()}
        for side, is_log, grad in sides:
            share, part = (pairs[is_log].p, pairs[is_log].q)[side], log_grads[is_log][side]
            part = part - share * row_sums(part).unsqueeze(-1)
            if not is_log:
                part = part.div_(share).div_(pair.log_mass[side].exp()).clamp_(-_LARGEST, _LARGEST)
            _store_(grad[block], part.mul_(outer).masked_fill_(zero_rows, 0.0))
    return grads[0], grads[1]


def _block_size(p: Tensor) -> int:
    return _BLOCK if p.device.type == "cpu" else _DEVICE_BLOCK


def _keep_pages(p: Tensor) -> None:
    """Make the C library keep the memory that a block frees: new pages cost more time than the arithmetic.

    glibc returns freed memory to the system until it has seen a large block freed: see M_MMAP_THRESHOLD in mallopt(3).
    """
    if p.device.type == "cpu" and p.numel() > _BLOCK:
        torch.empty(31 << 20, dtype=torch.uint8, device=p.device)  # never written, so it takes no pages


def _store_(grad: Tensor, part: Tensor) -> None:
    limit = torch.finfo(grad.dtype).max  # a larger gradient stays finite
    grad.copy_(part.clamp_(-limit, limit).view(grad.shape))


def _log_weights(elements: tuple[Tensor, Tensor], log_prob: tuple[bool, bool]) -> Tensor:
    """Log-weights of a block in float64, ``[2, rows, classes]``, in new memory."""
    shape, device = elements[0].shape, elements[0].device
    weights = torch.empty(2, *shape, dtype=torch.float64, device=device)
    for x, given, is_log in zip(weights.unbind(), elements, log_prob, strict=True):
        x.copy_(given)
        if not is_log:
            x.log_()
    return weights.view(2, -1, shape[-1])


def _normalize(
    elements: tuple[Tensor, Tensor], log_prob: tuple[bool, bool], temperature: float, exact: bool = True
) -> tuple[NormalizedPair, Tensor]:
    """The normalized pair of the rows of a block of p and q; and for each row 0, or NaN if the row is invalid.

    If not exact, delta may be off by the rounding error of the normalizers. That is accurate enough for gradients.
    """
    weights = _log_weights(elements, log_prob)
    top = weights.amax(-1, keepdim=True)
    nan_if_invalid = (top[0] * 0 + top[1] * 0).squeeze(-1)
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
        diff = torch.expm1(-delta.abs()).mul_(shares.amax(0)).neg_().copysign_(delta)
        excess = row_sums(diff).unsqueeze(-1).div_(total[0])  # relative to the mass of p; accurate when small
        shift = torch.where(excess < 0.5, -torch.log1p(-excess), shift)
    delta.sub_(shift)
    p, q = shares.div_(total)
    log_p = weights[0] - log_total[0]
    return NormalizedPair(p, q, log_p, delta, top + log_total, elements), nan_if_invalid


def blocks(shape: torch.Size, size: int) -> Iterator[tuple[int | slice, ...]]:
    """Indices of blocks of the batch dimensions, in order, such that no two dimensions have to be joined.

    A block has at most ``size`` numbers, or one row if a row has more.
    """
    batch, rows = shape[:-1], max(1, size // shape[-1])
    if prod(batch) <= rows:
        yield ()
    elif (inner := prod(batch[1:])) <= rows:
        step = rows // max(1, inner)
        yield from ((slice(start, start + step),) for start in range(0, batch[0], step))
    else:
        yield from ((i, *block) for i in range(batch[0]) for block in blocks(shape[1:], size))
