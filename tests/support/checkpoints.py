"""Metrics of all divergences and reductions, and numbered batches, for tests that save and resume."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tests.support.divergences import DIVERGENCES, Divergence

BATCHES = 7
REDUCTIONS = ["mean", "batchmean", "sum", "none"]
State = dict[str, Any]


def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    p, q = 3 * torch.randn(2, number % 3 + 2, 5, generator=generator)
    return p, q, torch.rand(len(p), generator=generator)


def make(divergence: Divergence, reduction: str, log_prob: bool = True) -> Any:
    metric = divergence.make(log_prob=log_prob, reduction=reduction)
    metric.persistent(True)
    return metric


def after_batches(metric: Any, numbers: Iterable[int]) -> Any:
    for number in numbers:
        metric.update(*batch(number))
    return metric


def all_metrics() -> Any:
    """A ModuleDict of metrics."""
    cases = [(divergence, reduction) for divergence in DIVERGENCES for reduction in REDUCTIONS]
    return torch.nn.ModuleDict({f"{i}_{case[1]}": make(*case) for i, case in enumerate(cases)})
