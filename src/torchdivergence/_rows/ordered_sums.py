"""Sums along a row in an order that depends on the number of classes alone: batch-invariant."""

import torch
from torch import Tensor

_SERIAL = 1 << 15  # torch never splits a sum of fewer numbers among its threads
_SEGMENT = 1 << 12


def row_sums(x: Tensor) -> Tensor:
    """Sum along the last dimension.

    torch's own order depends on how many rows there are: on the CPU for one long row, on a GPU for any row.
    """
    if x.device.type != "cpu":
        return halving_sums(x)
    classes = x.shape[-1]
    if classes < _SERIAL:
        return x.sum(-1)
    segments = classes // _SEGMENT
    body, rest = x.tensor_split([segments * _SEGMENT], dim=-1)
    return body.view(*x.shape[:-1], segments, _SEGMENT).sum(-1).sum(-1, dtype=torch.float64) + rest.sum(-1)


def halving_sums(x: Tensor) -> Tensor:
    """Sum along the last dimension, by adding its two halves until one number is left."""
    while (classes := x.shape[-1]) > 1:
        first, second, odd = x.tensor_split([classes // 2, classes // 2 * 2], dim=-1)
        x = torch.cat([first + second, odd], dim=-1) if classes % 2 else first + second
    return x.squeeze(-1)


def row_logsumexp(logs: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials along the last dimension."""
    top = logs.amax(-1, keepdim=True)
    sums = row_sums((logs - top).exp_()).log_().add_(top.squeeze(-1))
    return torch.where(top.squeeze(-1).isinf(), top.squeeze(-1), sums)
