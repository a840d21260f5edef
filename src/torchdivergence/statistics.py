"""What the mean hides: errors, quantiles and extremes of a divergence over rows, from one state of fixed size."""

import copy
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdivergence._inputs.arguments import Rows, check_parameter
from torchdivergence._metrics.dict_metric import MappingMetric
from torchdivergence._metrics.divergence_metric import DivergenceMetric
from torchdivergence._metrics.single_state import State
from torchdivergence._report.plotting import plot_histogram
from torchdivergence._report.values import (
    QUANTILES,
    check_quantiles,
    empty_state,
    estimate_names,
    estimate_values,
    join_states,
    split,
    spread_names,
    spread_values,
    unknown,
    valid_weights,
)
from torchdivergence._states import histogram as _quantiles
from torchdivergence._states.histogram import Distribution
from torchdivergence._states.moments import Estimate, Moments

__all__ = ["DivergenceStatistics"]


class _Summary(NamedTuple):
    mean: Estimate
    distribution: Distribution
    invalid: int


class DivergenceStatistics(MappingMetric):
    r"""The mean of a divergence with its standard errors, and its quantiles, over all batches and processes.

    The state has a fixed size, 0.27 MB, whatever the number of rows; and every value has the same bits for every batch
    size, order and number of processes.

    Args:
        metric: The divergence and its settings, one of this package's metrics with the reduction "mean". It is not
            changed.
        quantiles: Which quantiles, each strictly between 0 and 1.
        confidence: The level of the confidence interval, strictly between 0 and 1.
        kwargs: Those of :class:`torchmetrics.Metric`.

    Shapes:
        ``update(p, q, weights=None)`` takes what the metric takes. The first batch dimension counts items: of
        ``[texts, tokens, classes]`` a text is one. They are taken for independent in ``clustered_standard_error``.

    Returns:
        ``compute`` gives a dict of float64 numbers:

        - ``mean``;
        - ``standard_error``: as if rows were independent: s / sqrt(n) if there are no weights;
        - ``clustered_standard_error``: as if items were, whatever the rows within one: the cluster-robust CR1; the
          same if each item is one row;
        - ``lower``, ``upper``: the normal confidence interval by the clustered standard error;
        - ``min``, ``max``: exact; ``median``, and quantiles such as ``p99_9``, for 0.999: between two rows as in
          :func:`numpy.quantile`, off by 2**-8 of themselves at most. Rows of positive weight count once each;
        - ``rows``: how many rows of positive weight and which are valid; ``infinite``: how many of them are infinite;
          ``invalid``: how many are invalid, and left out if the metric's ``nan_policy`` is "omit".

        Errors are NaN for a single row or item, and where a row is infinite.

        ``statistics["p99"]`` is a metric of that value alone, for ``LightningModule.log`` or a monitor;
        ``LightningModule.log_dict(statistics)`` logs all.

    Raises:
        TypeError: If the metric is none of this package's.
        ValueError: If its reduction is another, or a quantile or the confidence is not between 0 and 1.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceStatistics, KLDivergence
        >>> statistics = DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.5, 0.99])
        >>> teacher = torch.randn(100, 8, 10, generator=torch.Generator().manual_seed(0))
        >>> statistics.update(teacher, teacher / 2)
        >>> for name, value in statistics.compute().items():
        ...     print(f"{name}: {value:.4f}")
        mean: 0.0900
        standard_error: 0.0018
        clustered_standard_error: 0.0017
        lower: 0.0866
        upper: 0.0934
        min: 0.0138
        median: 0.0784
        p99: 0.2608
        max: 0.3139
        rows: 800.0000
        infinite: 0.0000
        invalid: 0.0000

    Source: A. C. Cameron and D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum. Resour. 50
    (2015), section II.
    """

    def __init__(
        self,
        metric: DivergenceMetric,
        *,
        quantiles: Sequence[float] = QUANTILES,
        confidence: float = 0.95,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(metric, DivergenceMetric):
            raise TypeError(f"metric must be one of torchdivergence's, but got {type(metric).__name__}.")
        if metric.reduction != "mean":
            raise ValueError(f"the metric's reduction must be 'mean', but got {metric.reduction!r}: leave it out.")
        self.metric = copy.deepcopy(metric, {id(metric._companions): None})
        self.metric.reset()
        self.quantiles = check_quantiles(quantiles)
        self.confidence = check_parameter("confidence", confidence, 0, 1)
        self._moments = Moments(1)
        self._sizes = self._moments.size, _quantiles.BINS, 1, _quantiles.LIMITS
        join = partial(join_states, limits=_quantiles.LIMITS)
        self._keep(f"{metric._name}_statistics", empty_state(self._sizes), join)
        spread, counts = spread_names(self.quantiles), ["rows", "infinite", "invalid"]
        self._name_values([*estimate_names("mean", ""), "lower", "upper", *spread, *counts])

    def update(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> None:
        """Take a batch of rows in. If this raises, the metric is as it was before."""
        self._take(self._evaluate(p, q, weights))

    def extra_repr(self) -> str:
        """The metric."""
        return repr(self.metric)

    def plot(self, ax: Any = None, label: str | None = None) -> Any:
        """Draw a histogram of the rows' values on a logarithmic axis, with median, 99 % quantile and maximum marked.

        Args:
            ax: Matplotlib's axes to draw on, as this returns them: to lay several histograms over each other.
            label: What the legend calls this one.

        Returns:
            The figure and the axes.
        """
        name = f"{type(self.metric).__name__} of a row"
        return plot_histogram(self._summary_of_all().distribution, name, self.metric._settings.log_base, ax, label)

    def _before_compute(self) -> None:
        self.metric._watch.tell()

    def _evaluate(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Rows]:
        with torch.no_grad():
            return self.metric._evaluate(p, q, weights)

    def _add(self, state: State, batch: tuple[Tensor, Rows]) -> Tensor:
        values, rows = batch
        weights, invalid = valid_weights(values, rows.weights)
        new: Tensor = state.clone()  # type: ignore[union-attr]
        moments, counts, count, limits = split(new, self._sizes)
        self._moments.add_(moments, values[None], weights)
        _quantiles.count_(counts, limits, values, weights > 0)
        count += invalid
        return new

    def _summarise(self, state: Tensor) -> _Summary:
        moments, counts, count, limits = split(state.cpu(), self._sizes)
        self.metric._meet(int(count))
        (mean,) = self._moments.read(moments)
        return _Summary(mean, Distribution(counts, limits), int(count))

    def _values_of(self, summary: _Summary) -> dict[str, float]:
        unit = self.metric._settings.log_base
        mean = Estimate(*(x / unit for x in summary.mean))
        margin = statistics.NormalDist().inv_cdf((1 + self.confidence) / 2) * mean.clustered_standard_error
        values = {
            **estimate_values(mean, "mean", ""),
            "lower": mean.value - margin,
            "upper": mean.value + margin,
            **spread_values(summary.distribution, self.quantiles, unit=unit),
        }
        if summary.invalid and self.metric.nan_policy != "omit":
            values = unknown(values)
        counts = {"rows": summary.distribution.total, "infinite": summary.distribution.infinite}
        return {**values, **counts, "invalid": summary.invalid}
