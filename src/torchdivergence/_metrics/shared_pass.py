"""Evaluates a batch once for all metrics of a collection, and synchronizes them with the collectives of one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from torchdivergence._inputs.placement import own_rows
from torchdivergence._inputs.projected import Side
from torchdivergence._metrics.row_evaluator import InvalidRowsError
from torchdivergence._states.part import DIVERGENCE, RowBatch

if TYPE_CHECKING:
    from torchdivergence._metrics.divergence_metric import DivergenceMetric


class SharedPass:
    """The metrics of a collection. They have equal settings for reading p and q."""

    def __init__(self, metrics: "Sequence[DivergenceMetric]") -> None:
        self.metrics = list(metrics)
        self._batches: dict[str, RowBatch] = {}

    def is_of(self, metrics: "Sequence[DivergenceMetric]") -> bool:
        """Whether these are all its metrics."""
        return list(map(id, self.metrics)) == list(map(id, metrics))

    def batch(self, key: str) -> RowBatch | None:
        """The values of a divergence for the batch at hand, if there is one."""
        return self._batches.get(key)

    def copies(self) -> Sequence[Tensor | None]:
        """Copies of the states that the metrics own, by one launch; None for others."""
        owned = [metric.owned_tensor for metric in self.metrics]
        if any(x is None for x in owned):
            return [x if x is None else x.clone() for x in owned]
        return torch.stack([x for x in owned if x is not None]).unbind()

    @contextmanager
    def evaluated(self, p: Side, q: Side, weights: Tensor | None = None) -> Iterator[None]:
        """Within this context ``batch`` has the values of all metrics, from one pass over the classes."""
        first = self.metrics[0]
        evaluator = first.evaluator
        keys = list(dict.fromkeys(metric.evaluator.key for metric in self.metrics))
        with torch.no_grad():
            rows, _ = own_rows(evaluator.check(p, q, weights), first.state_device)
            evaluator.inspect(rows)
            values = evaluator.evaluate(rows.p, rows.q, keys)
        try:
            self._batches = {
                key: RowBatch({DIVERGENCE: x}, rows.weights, rows.items) for key, x in zip(keys, values, strict=True)
            }
            yield
        finally:
            self._batches = {}

    def compute_together(self, asked: "DivergenceMetric") -> None:
        """Compute all metrics that are synchronized like one of them, with the collectives of a single metric."""
        if asked.is_computed:
            return
        metrics = [m for m in self.metrics if m.sync_key == asked.sync_key and not m.is_computed]
        gather = asked.dist_sync_fn or gather_all_tensors
        states = gather(torch.stack([m.current_state for m in metrics]), group=asked.process_group)
        for metric, state in zip(metrics, torch.stack(states).sum(0), strict=True):  # states of sums merge by addition
            with suppress(InvalidRowsError):  # the metric raises it when it is computed itself
                metric.adopt(state)
