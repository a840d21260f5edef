"""The statistics of a report: parts of its state, and the values that are read from them."""

from collections.abc import Sequence
from functools import partial

from torchdivergence._divergences import EXPECTED_ACCEPTANCE
from torchdivergence._layout import CORRECTNESS_COLUMNS, TARGET_COLUMNS
from torchdivergence._metrics.dict_metric import Statistic
from torchdivergence._report.accuracy import correctness_values, mcnemar_values
from torchdivergence._report.intervals import Intervals
from torchdivergence._report.named_values import (
    estimate_names,
    estimate_values,
    quantile_names,
    quantile_values,
    rough_quantiles,
    row_counts,
)
from torchdivergence._report.perplexity import TargetSummary
from torchdivergence._states.contingency import ContingencyTable
from torchdivergence._states.histogram import Distribution, Histogram
from torchdivergence._states.moments import Means, Moments
from torchdivergence._states.part import DIVERGENCE
from torchdivergence._states.profile import Profile

OF_TARGETS = ("correctness", "mcnemar", "targets", "delta_p")
"""The statistics that need targets."""


def report_statistics(top_k: Sequence[int], quantiles: dict[str, float], confidence: float) -> dict[str, Statistic]:
    """The statistics: a part of the state each, with the values that are read from it."""
    shares = [*(f"top_{k}_agreement" for k in top_k), EXPECTED_ACCEPTANCE.function]
    names = [name for share in shares for name in estimate_names(share)]
    return {
        "means": Statistic(
            Moments([DIVERGENCE, *shares]),
            [*estimate_names("kl_mean", "kl_"), *names, "sequences"],
            partial(_mean_values, confidence=confidence),
        ),
        "kl": Statistic(
            Histogram(DIVERGENCE),
            [*quantile_names(quantiles, "kl_"), "rows", "infinite"],
            partial(_kl_values, quantiles=quantiles),
            partial(rough_quantiles, quantiles=quantiles, prefix="kl_"),
        ),
        **_target_statistics(quantiles, confidence),
        "profile": Statistic(Profile(DIVERGENCE)),
    }


def _target_statistics(quantiles: dict[str, float], confidence: float) -> dict[str, Statistic]:
    return {
        "correctness": Statistic(
            Moments(CORRECTNESS_COLUMNS),
            [name for column in CORRECTNESS_COLUMNS for name in estimate_names(column)],
            partial(correctness_values, confidence=confidence),
        ),
        "mcnemar": Statistic(ContingencyTable("accuracy_p", "accuracy_q"), ["mcnemar_p_value"], mcnemar_values),
        "targets": Statistic(
            Moments(TARGET_COLUMNS), TargetSummary.names(), partial(_target_values, confidence=confidence)
        ),
        "delta_p": Statistic(
            Histogram("delta_p", signed=True),
            quantile_names(quantiles, "delta_p_"),
            partial(_delta_p_values, quantiles=quantiles),
            partial(_rough_delta_p, quantiles=quantiles),
        ),
    }


def mean_columns(statistics: dict[str, Statistic]) -> list[str]:
    """The columns whose means are read from some statistics."""
    parts = (statistic.part for statistic in statistics.values())
    return [column for part in parts if isinstance(part, Moments) for column in part.columns]


def _mean_values(means: Means, confidence: float) -> dict[str, float]:
    intervals, (kl, *shares) = Intervals.of_means(confidence, means), means.estimates.items()
    values = estimate_values(kl[1], intervals, "log", "kl_mean", "kl_")
    for name, estimate in shares:
        values |= estimate_values(estimate, intervals, "logit", name)
    return values | {"sequences": means.clusters}


def _kl_values(distribution: Distribution, quantiles: dict[str, float]) -> dict[str, float]:
    return quantile_values(distribution, quantiles, "kl_") | row_counts(distribution)


def _target_values(means: Means, confidence: float) -> dict[str, float]:
    if not means.rows:
        return {}
    return TargetSummary.from_means(means.estimates).values(Intervals.of_means(confidence, means))


def _delta_p_values(distribution: Distribution, quantiles: dict[str, float]) -> dict[str, float]:
    return quantile_values(distribution, quantiles, "delta_p_") if distribution.total else {}


def _rough_delta_p(distribution: Distribution, quantiles: dict[str, float]) -> list[str]:
    return rough_quantiles(distribution, quantiles, "delta_p_") if distribution.total else []
