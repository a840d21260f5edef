"""Small metrics and what they are fed with."""

from typing import Any

import torch
from torch import Tensor

from torchdivergence import KLDivergence


def pair(rows: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities, far from one another."""
    p, q = torch.rand(2, rows, 4, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    return p, q


def fed(*batches: tuple[Tensor, ...], **settings: Any) -> KLDivergence:
    metric = KLDivergence(**settings)
    for args in batches:
        metric.update(*args)
    return metric


def tensors(metric: KLDivergence) -> list[Tensor]:
    [state] = metric.metric_state.values()
    return list(state) if isinstance(state, list) else [state]
