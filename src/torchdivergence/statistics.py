"""Standard errors, quantiles and extremes of a divergence over rows, from one state of fixed size."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, no_grad

from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import IntervalScale, check_interval_scale, check_parameter, check_quantiles
from torchdivergence._metrics.dict_metric import DictMetric, Statistic
from torchdivergence._metrics.divergence_metric import DivergenceMetric
from torchdivergence._report.intervals import Intervals
from torchdivergence._report.named_values import (
    QUANTILES,
    estimate_names,
    estimate_values,
    quantile_names,
    quantile_values,
    rough_quantiles,
    row_counts,
)
from torchdivergence._report.plotting import plot_tail
from torchdivergence._states.histogram import Distribution, Histogram
from torchdivergence._states.moments import Estimate, Means, Moments
from torchdivergence._states.part import DIVERGENCE, RowBatch

__all__ = ["DivergenceStatistics"]


def _mean_values(means: Means, unit: float, confidence: float, scale: IntervalScale) -> dict[str, float]:
    mean = Estimate(*(x / unit for x in means.estimates[DIVERGENCE]))
    return estimate_values(mean, Intervals.of_means(confidence, means), scale, "mean", "")


def _distribution_values(distribution: Distribution, unit: float, quantiles: dict[str, float]) -> dict[str, float]:
    return quantile_values(distribution, quantiles, unit=unit) | row_counts(distribution)


class DivergenceStatistics(DictMetric):
    r"""Mean of a divergence with standard errors, quantiles and extremes, over all batches and processes.

    The state has a fixed size of 0.27 MB, whatever the number of rows. Every value has the same bits for every batch
    size, order and number of processes.

    Args:
        metric: A metric of this package with the reduction "mean": its divergence and settings are used. The metric
            itself is not changed.
        quantiles: Quantiles to compute, each strictly between 0 and 1.
        confidence: Level of the confidence interval, strictly between 0 and 1.
        interval_scale: Scale on which the interval is symmetric. With the mean m, its clustered standard error s and a
            quantile t, "log" is :math:`m e^{\pm t s / m}`, which is never negative, and "linear" is
            :math:`m \pm t s`. "log" covers the true mean more often.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Shapes:
        ``update(p, q, weights=None)`` takes the arguments of the metric. The items of the first batch dimension are the
        clusters: texts for ``[texts, tokens, classes]``.

    Returns:
        A dict of float64 numbers from ``compute``.

        - ``mean``;
        - ``standard_error``: valid if rows are independent; s / sqrt(n) without weights;
        - ``clustered_standard_error``: valid if items are independent, with any dependence of rows within an item
          (CR1); equal to ``standard_error`` if each item is one row;
        - ``lower``, ``upper``: confidence interval of the mean from the clustered standard error, with the quantile
          of Student's t distribution for G - 1 degrees of freedom. G is the effective number of items,
          :math:`(\sum_g n_g)^2 / \sum_g n_g^2`, where :math:`n_g` is the number of rows of an item or the sum of
          their weights;
        - ``min``, ``max``: exact;
        - ``median``, and quantiles such as ``p99_9`` for 0.999: interpolated like :func:`numpy.quantile`, with a
          relative error of at most 2**-10 from 9.1e-13 to 256, and 2**-6 from 5.3e-51 to 8.7e40. Each row of positive
          weight counts once;
        - ``rows``: number of valid rows with positive weight; ``infinite``: number of infinite ones among them;
          ``invalid``: number of invalid rows, which are ignored if the metric's ``nan_policy`` is "omit".

        Errors are NaN for a single row or item, and if a row is infinite. So is the interval: it needs two items.

        ``statistics["p99"]`` is a view of that value, for ``LightningModule.log`` or a monitor;
        ``LightningModule.log_dict(statistics)`` logs all.

    Raises:
        TypeError: The metric is not a metric of this package.
        ValueError: Its reduction is not "mean", a quantile or the confidence is not between 0 and 1, or there is no
            such scale.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceStatistics, KLDivergence
        >>> kl = KLDivergence(log_prob=True)
        >>> statistics = DivergenceStatistics(kl, quantiles=[0.5, 0.99])
        >>> teacher = torch.randn(100, 8, 10, generator=torch.Generator().manual_seed(0))
        >>> statistics.update(teacher, teacher / 2)
        >>> for name, value in statistics.compute().items():
        ...     print(f"{name}: {value:.4f}")
        mean: 0.0900
        standard_error: 0.0018
        clustered_standard_error: 0.0017
        lower: 0.0867
        upper: 0.0936
        min: 0.0138
        median: 0.0786
        p99: 0.2615
        max: 0.3139
        rows: 800.0000
        infinite: 0.0000
        invalid: 0.0000

    Source: A. C. Cameron and D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum. Resour. 50
    (2015), section II. For the effective number of items C. P. Carter, K. T. Schnepel and D. G. Steigerwald,
    "Asymptotic Behavior of a t-Test Robust to Cluster Heterogeneity", Rev. Econ. Stat. 99 (2017).
    """

    def __init__(
        self,
        metric: DivergenceMetric,
        *,
        quantiles: Sequence[float] = QUANTILES,
        confidence: float = 0.95,
        interval_scale: IntervalScale = "log",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(metric, DivergenceMetric):
            found = f"the class {metric.__name__}" if isinstance(metric, type) else type(metric).__name__
            raise TypeError(f"metric must be a metric of torchdivergence, such as KLDivergence(), but got {found}.")
        if metric.reduction != "mean":
            raise ValueError(f"the metric's reduction must be 'mean', but got {metric.reduction!r}: leave it out.")
        self.evaluator = metric.evaluator.fresh_copy()
        self.quantiles = check_quantiles(quantiles)
        self.confidence = check_parameter("confidence", confidence, 0, 1)
        self.interval_scale = check_interval_scale(interval_scale)
        self._register_statistics(f"{self.evaluator.state_name}_statistics", self._declared())

    def _declared(self) -> dict[str, Statistic]:
        """The statistics: a part of the state each, with the values that are read from it."""
        unit, names = self.evaluator.settings.log_base, quantile_names(self.quantiles)
        return {
            "mean": Statistic(
                Moments([DIVERGENCE]),
                estimate_names("mean", ""),
                partial(_mean_values, unit=unit, confidence=self.confidence, scale=self.interval_scale),
            ),
            "distribution": Statistic(
                Histogram(DIVERGENCE),
                [*names, "rows", "infinite"],
                partial(_distribution_values, unit=unit, quantiles=self.quantiles),
                partial(rough_quantiles, quantiles=self.quantiles),
            ),
        }

    def update(self, p: Side, q: Side, weights: Tensor | None = None) -> None:
        """Update with a batch of rows. If this raises, the metric is as it was before."""
        self._apply_batch(self._batch_stats(p, q, weights))

    def extra_repr(self) -> str:
        """The divergence and its settings."""
        return repr(self.evaluator)

    def plot(self, ax: Any = None, label: str | None = None) -> Any:
        """Draw the tail: for each value the share of rows that are at least as large. This needs matplotlib.

        Both axes are logarithmic, with dots at the median, the 99 % quantile and the maximum. The smallest 1 % of the
        rows are left out. The legend counts rows of value 0 and infinity.

        Args:
            ax: Matplotlib axes to draw on, as returned by this method: to overlay several curves.
            label: Name in the legend.

        Returns:
            The figure and the axes.
        """
        distribution, evaluator = self._synced_results()["distribution"], self.evaluator
        return plot_tail(distribution, evaluator.spec.metric, evaluator.unit, evaluator.settings.log_base, ax, label)

    @no_grad()
    def _batch_stats(self, p: Side, q: Side, weights: Tensor | None = None) -> RowBatch:
        return self.evaluator(self.state_device, p, q, weights)
