"""Many divergences of the same rows, from one pass over the classes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from torchdivergence._metrics.divergence_metric import Companions, DivergenceMetric

__all__ = ["DivergenceCollection"]


class DivergenceCollection(MetricCollection):
    """A ``torchmetrics.MetricCollection`` of this package's metrics that reads each batch once.

    It is used like its base class: ``update``, ``forward`` and ``compute`` serve all metrics, and with Lightning
    ``self.log_dict(collection)`` logs each. Its metrics share a pass over the classes for each batch, whatever
    their number, and over several processes they synchronise together, with the collectives of a single metric.

    Args:
        metrics: A list of metrics, which go by the names of their classes, or a dict of names and metrics. They
            must have the same ``log_prob``, ``dim`` and ``temperature``; ``reduction``, ``base`` and
            ``nan_policy`` may differ.
        additional_metrics: More metrics, after a list.
        prefix: What the names in the results begin with.
        postfix: What they end with.

    Raises:
        TypeError: If a metric is none of this package's.
        ValueError: If the metrics differ in how they read p and q.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
        >>> collection = DivergenceCollection([KLDivergence(), TotalVariationDistance()], prefix="val_")
        >>> collection.update(torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]]))
        >>> for name, value in collection.compute().items():
        ...     print(f"{name}: {value:.4f}")
        val_KLDivergence: 0.0853
        val_TotalVariationDistance: 0.1733
    """

    def __init__(
        self,
        metrics: Metric | Sequence[Metric] | Mapping[str, Metric],
        *additional_metrics: Metric,
        prefix: str | None = None,
        postfix: str | None = None,
    ) -> None:
        super().__init__(metrics, *additional_metrics, prefix=prefix, postfix=postfix)  # type: ignore[arg-type]

    def add_metrics(self, metrics: Any, *additional_metrics: Metric) -> None:
        """Add metrics, given as to the constructor."""
        super().add_metrics(metrics, *additional_metrics)
        members = []
        for metric in self.values(copy_state=False):
            if not isinstance(metric, DivergenceMetric):
                raise TypeError(
                    f"a DivergenceCollection is for torchdivergence's metrics, but got {type(metric).__name__}: put it "
                    "into a torchmetrics.MetricCollection, where these metrics may stand, too."
                )
            members.append(metric)
        ways = {(m._settings.log_prob, m._settings.dim, m._settings.temperature) for m in members}
        if len(ways) > 1:
            raise ValueError(
                "the metrics of a DivergenceCollection must have the same log_prob, dim and temperature, but got "
                f"{sorted(ways)}: make a collection for each."
            )
        companions = Companions(members)
        for metric in members:
            metric._companions = companions

    def update(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> None:  # type: ignore[override]
        """Take a batch of rows in, for all metrics. If this raises, they are as they were before."""
        with self._all_or_nothing(), self._companions.one_pass(p, q, weights):
            super().update(p, q, weights)

    def forward(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> dict[str, Any]:
        """Take a batch of rows in, and return the values over this batch alone."""
        with self._all_or_nothing(), self._companions.one_pass(p, q, weights):
            return super().forward(p, q, weights)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        with ExitStack() as metrics:
            for metric in self._companions.metrics:
                metrics.enter_context(metric._all_or_nothing())
            yield

    @property
    def _companions(self) -> Companions:
        metric = next(iter(self.values(copy_state=False)))
        return metric._companions  # type: ignore[return-value]
