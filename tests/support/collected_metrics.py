"""The metrics of a collection, batches for them, and the values that they give separately."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

import torchdivergence as td
from tests.support.helpers import Batch, updated


def some_metrics(**settings: Any) -> dict[str, Metric]:
    names = ("KLDivergence", "ReverseKLDivergence", "JeffreysDivergence", "JensenShannonDivergence")
    metrics: dict[str, Metric] = {name: getattr(td, name)(**settings) for name in names}
    metrics |= {"tv": td.TotalVariationDistance(**settings), "hellinger": td.HellingerDistance(**settings)}
    metrics |= {"ce": td.CrossEntropy(**settings), "h": td.Entropy(**settings)}
    bits = td.KLDivergence(base=2, reduction="sum", **settings)
    return metrics | {"renyi": td.RenyiDivergence(0.5, **settings), "bits": bits}


def batches(number: int = 3, rows: int = 5) -> list[Batch]:
    """Logits and weights; in the first batch p = q."""
    made = [(torch.randn(rows, 7), torch.randn(rows, 7), torch.rand(rows)) for _ in range(number)]
    return [(made[0][0], made[0][0], made[0][2]), *made[1:]]


def separate_values(data: list[Batch], **settings: Any) -> dict[str, Tensor]:
    """The values of the same metrics outside a collection."""
    return {name: updated(m, data).compute() for name, m in some_metrics(log_prob=True, **settings).items()}
