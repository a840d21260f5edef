"""Several divergences of the same rows, from one pass over the classes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from torchdivergence._compile import dynamo_disable
from torchdivergence._inputs.projected import Side
from torchdivergence._metrics.divergence_metric import DivergenceMetric
from torchdivergence._metrics.shared_pass import SharedPass
from torchdivergence._report.plotting import plot_values

__all__ = ["DivergenceCollection"]


class DivergenceCollection(MetricCollection):
    """A ``torchmetrics.MetricCollection`` of divergences that reads each batch once.

    It is used like its base class: ``update``, ``forward`` and ``compute`` apply to all metrics, and with Lightning
    ``self.log_dict(collection)`` logs each. For each batch all metrics share one pass over the classes. Several
    processes synchronize all metrics together, with the collectives of a single metric.

    Args:
        metrics: A list of metrics, which are named after their classes, or a dict of names and metrics. They must
            have the same ``log_prob``, ``dim`` and ``temperature``; ``reduction``, ``base`` and
            ``nan_policy`` may differ.
        additional_metrics: More metrics, after a list.
        prefix: Prefix of the names in the results.
        postfix: Suffix of the names in the results.

    Raises:
        TypeError: A metric is not a divergence metric of this package.
        ValueError: The metrics differ in ``log_prob``, ``dim`` or ``temperature``.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceCollection, KLDivergence
        >>> from torchdivergence import TotalVariationDistance
        >>> metrics = [KLDivergence(), TotalVariationDistance()]
        >>> collection = DivergenceCollection(metrics, prefix="val_")
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> collection.update(p, q)
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
        self._join()

    def __setitem__(self, name: str, metric: Metric) -> None:  # type: ignore[override]
        """Add or replace a metric. The others keep their states."""
        self._compute_groups_create_state_ref(copy=True)
        super().__setitem__(name, metric)
        self._forget_groups()
        self._join()

    def __delitem__(self, name: str) -> None:
        """Remove a metric. The others keep their states."""
        self._compute_groups_create_state_ref(copy=True)
        super().__delitem__(name)
        self._forget_groups()
        self._join()

    def _forget_groups(self) -> None:
        # torchmetrics updates only the first of each group of equal metrics, which it found after the first batch
        self._groups_checked = False
        if self._enable_compute_groups:
            self._init_compute_groups()

    def _join(self) -> SharedPass:
        """Make the present metrics share their passes. Raises if they do not fit together."""
        members: list[DivergenceMetric] = []
        for metric in self.values(copy_state=False):
            if not isinstance(metric, DivergenceMetric):
                raise TypeError(
                    f"a DivergenceCollection takes metrics of torchdivergence, but got {type(metric).__name__}: use a "
                    "torchmetrics.MetricCollection, which takes both."
                )
            members.append(metric)
        if not members:
            raise ValueError("a DivergenceCollection must have at least one metric.")
        settings = [metric.evaluator.settings for metric in members]
        if len({(x.log_prob, x.dim, x.temperature) for x in settings}) > 1:
            raise ValueError(
                "the metrics of a DivergenceCollection must have the same log_prob, dim and temperature, but got "
                f"{', '.join(map(repr, members))}: make a collection for each."
            )
        shared = members[0].shared_pass
        if shared is None or not all(metric.shared_pass is shared for metric in members) or not shared.is_of(members):
            shared = SharedPass(members)
            for metric in members:
                metric.shared_pass = shared
        return shared

    @dynamo_disable
    def update(self, p: Side, q: Side, weights: Tensor | None = None) -> None:  # type: ignore[override]
        """Update all metrics with a batch of rows. If this raises, they are as they were before."""
        with self._together(p, q, weights):
            super().update(p, q, weights)

    @torch.jit.unused
    @dynamo_disable
    def forward(self, p: Side, q: Side, weights: Tensor | None = None) -> dict[str, Any]:
        """Update all metrics with a batch of rows, and return the values over this batch alone."""
        with self._together(p, q, weights):
            return super().forward(p, q, weights)

    def plot(self, val: Any = None, ax: Any = None, together: bool = False) -> Any:
        """Plot the values of all metrics: each in a figure, or together in one. This needs matplotlib.

        Args:
            val: A value of ``compute`` or ``forward``, or a list of them.
            ax: Matplotlib axes to draw on: a list of one for each metric, unless ``together``.
            together: Whether all metrics are drawn on the same axes.

        Returns:
            The figure and the axes; unless ``together``, a list of them.
        """
        values: Any = self.compute() if val is None else val
        one = isinstance(values, Mapping)
        if not one and not values:
            raise ValueError("plot() takes values of compute() or forward(), but the list of them is empty.")
        if not together:
            return super().plot(values, ax)
        for name in values if one else values[0]:
            own = values[name] if one else [step[name] for step in values]
            figure, ax = plot_values(own, "value", ax, name)
        return figure, ax

    @contextmanager
    def _together(self, p: Side, q: Side, weights: Tensor | None) -> Iterator[None]:
        """Evaluate a batch once for all metrics. If the body raises, they are as they were before."""
        shared = self._join()
        with ExitStack() as metrics:
            for metric, state in zip(shared.metrics, shared.copies(), strict=True):
                metrics.enter_context(metric.atomic(state))
            metrics.enter_context(shared.evaluated(p, q, weights))
            yield
