"""Sums along a row, in an order that the number of classes decides, and nothing else."""

import torch
from torch import Tensor

_SERIAL = 1 << 15  # a sum of fewer numbers is never shared out among torch's threads
_SEGMENT = 1 << 12


def row_sums(x: Tensor) -> Tensor:
    """The sum along the last dimension. torch's own order for one long row depends on how many rows there are."""
    classes = x.shape[-1]
    if classes < _SERIAL:
        return x.sum(-1)
    segments = classes // _SEGMENT
    body, rest = x.tensor_split([segments * _SEGMENT], dim=-1)
    return body.view(*x.shape[:-1], segments, _SEGMENT).sum(-1).sum(-1, dtype=torch.float64) + rest.sum(-1)


def tree_sums(x: Tensor) -> Tensor:
    """The sum along the last dimension by pairs of neighbours: zeros at its end change no bit."""
    while x.shape[-1] > 1:
        x = torch.nn.functional.pad(x, (0, x.shape[-1] % 2))
        x = x[..., 0::2] + x[..., 1::2]
    return x.squeeze(-1)


def row_log_sums(logs: Tensor) -> Tensor:
    """The logarithm of the sum along the last dimension of what these are the logarithms of."""
    top = logs.amax(-1, keepdim=True)
    sums = row_sums((logs - top).exp_()).log_().add_(top.squeeze(-1))
    return torch.where(top.squeeze(-1).isinf(), top.squeeze(-1), sums)
