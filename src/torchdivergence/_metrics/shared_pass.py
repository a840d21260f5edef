"""What the metrics of a collection share: one pass over each batch, and one synchronization."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from torchdivergence._divergences import Divergence
from torchdivergence._states.part import DIVERGENCE, RowBatch

if TYPE_CHECKING:
    from torchdivergence._metrics.divergence_metric import DivergenceMetric


class SharedPass:
    """The metrics of a collection. They have equal settings for reading p and q."""

    def __init__(self, metrics: "Sequence[DivergenceMetric]") -> None:
        self.metrics = list(metrics)
        self._batches: dict[Divergence, RowBatch] = {}

    def batch(self, divergence: Divergence) -> RowBatch | None:
        """The values of a divergence for the batch at hand, if there is one."""
        return self._batches.get(divergence)

    @contextmanager
    def evaluated(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> Iterator[None]:
        """Within this context ``batch`` has the values of all metrics, from one pass over the classes."""
        evaluator = self.metrics[0].evaluator
        divergences = list(dict.fromkeys(metric.evaluator.divergence for metric in self.metrics))
        with torch.no_grad():
            rows = evaluator.check(p, q, weights)
            evaluator.inspect(rows)
            values = evaluator.evaluate(rows, divergences)
        try:
            self._batches = {
                divergence: RowBatch({DIVERGENCE: x}, rows.weights, rows.items)
                for divergence, x in zip(divergences, values, strict=True)
            }
            yield
        finally:
            self._batches = {}

    def compute_together(self, asked: "DivergenceMetric") -> None:
        """Compute all metrics that are synchronized like one of them, with the collectives of a single metric."""
        metrics = [m for m in self.metrics if m.sync_key == asked.sync_key and not m.is_computed]
        if not metrics:
            return
        gather = asked.dist_sync_fn or gather_all_tensors
        states = gather(torch.stack([m.current_state for m in metrics]), group=asked.process_group)
        for metric, state in zip(metrics, torch.stack(states).sum(0), strict=True):
            with suppress(ValueError):  # of nan_policy="raise": the metric raises it when it is computed itself
                metric.adopt(state)
