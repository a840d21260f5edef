"""Perplexities and probability differences of the target tokens, with their errors, from means over rows."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torchdivergence._report.intervals import Intervals, ScaleName
from torchdivergence._report.named_values import estimate_names, estimate_values
from torchdivergence._states.moments import Estimate

_MAYBE_NEGATIVE = ("log_perplexity_ratio", "perplexity_difference", "delta_p_mean")


class TargetSummary(NamedTuple):
    """Perplexities of p and q, and differences of the probabilities of the target, over all rows."""

    perplexity_p: Estimate
    perplexity_q: Estimate
    log_perplexity_ratio: Estimate
    perplexity_ratio: Estimate
    perplexity_difference: Estimate
    log_perplexity_correlation: float
    delta_p_mean: Estimate
    delta_p_rms: Estimate

    @classmethod
    def from_means(cls, means: Mapping[str, Estimate]) -> "TargetSummary":
        """From the means of the target columns. The error of f(mean) is that of the mean times f' (delta method)."""
        loss_p, loss_q, log_ratio = means["loss_p"], means["loss_q"], means["log_ratio"]
        squared = means["delta_p_squared"]
        p, q, ratio = (_exp(x.value) for x in (loss_p, loss_q, log_ratio))
        rms = math.sqrt(squared.value)
        errors = list(zip(loss_p[1:], loss_q[1:], log_ratio[1:], strict=True))
        return cls(
            perplexity_p=loss_p.scaled(p, value=p),
            perplexity_q=loss_q.scaled(q, value=q),
            log_perplexity_ratio=log_ratio,
            perplexity_ratio=log_ratio.scaled(ratio, value=ratio),
            perplexity_difference=Estimate(q - p, *(_difference_error(*each, p, q) for each in errors)),
            log_perplexity_correlation=_correlation(*errors[0]),
            delta_p_mean=means["delta_p"],
            delta_p_rms=squared.scaled(0.5 / rms if rms else 0.0, value=rms),
        )

    @classmethod
    def names(cls) -> list[str]:
        """Names of all values."""
        single = "log_perplexity_correlation"
        return [x for name in cls._fields for x in ([name] if name == single else estimate_names(name))]

    def values(self, intervals: Intervals) -> dict[str, float]:
        """All values by name."""
        values: dict[str, float] = {}
        for name, value in self._asdict().items():
            scale: ScaleName = "linear" if name in _MAYBE_NEGATIVE else "log"
            values |= estimate_values(value, intervals, scale, name) if isinstance(value, Estimate) else {name: value}
        return values


def _difference_error(error_p: float, error_q: float, error_ratio: float, p: float, q: float) -> float:
    """Error of exp(Q) - exp(P) by the delta method, from the errors of P, of Q and of Q - P."""
    covariance = (error_q * error_q - error_p * error_p - error_ratio * error_ratio) / 2
    slope = q - p
    variance = slope * slope * error_p * error_p + q * q * error_ratio * error_ratio + 2 * slope * q * covariance
    return math.nan if math.isnan(variance) else math.sqrt(max(variance, 0))


def _correlation(error_p: float, error_q: float, error_ratio: float) -> float:
    product = 2 * error_p * error_q
    return (error_p * error_p + error_q * error_q - error_ratio * error_ratio) / product if product else math.nan


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
