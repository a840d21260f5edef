"""Confidence intervals of means, and of functions of means, from their clustered standard errors.

Sequences are the independent units. So the quantile is that of Student's t with G - 1 degrees of freedom, where
G = (sum W)**2 / sum W**2 is the effective number of sequences, and W the number of rows in a sequence or the sum of
their weights. If all W are equal, G is the number of sequences. It is the effective number of C. P. Carter,
K. T. Schnepel and D. G. Steigerwald, "Asymptotic Behavior of a t-Test Robust to Cluster Heterogeneity", Rev. Econ.
Stat. 99 (2017), if the sum over a sequence has a variance proportional to W.

On a scale f, the interval of the value v with the error s is the inverse of f at f(v) ± t s f'(v).
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from torchdivergence._report.student_t import two_sided_quantile
from torchdivergence._states.moments import Estimate, Means

ScaleName = Literal["linear", "log", "logit"]
"""The scale on which an interval is symmetric: for values of any sign, for positive values, and for shares.

Sources: W. Q. Meeker and L. A. Escobar, "Statistical Methods for Reliability Data" (1998), chapter 8, for log; L. D.
Brown, T. T. Cai and A. DasGupta, "Interval Estimation for a Binomial Proportion", Stat. Sci. 16 (2001), for logit.
"""


class _Scale(NamedTuple):
    forward: Callable[[float], float]
    slope: Callable[[float], float]
    backward: Callable[[float], float]


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


_SCALES: dict[ScaleName, _Scale] = {
    "linear": _Scale(lambda x: x, lambda _: 1.0, lambda y: y),
    "log": _Scale(math.log, lambda x: 1 / x, _exp),
    "logit": _Scale(lambda x: math.log(x / (1 - x)), lambda x: 1 / (x * (1 - x)), lambda y: 1 / (1 + _exp(-y))),
}


class Intervals:
    """Confidence intervals at one level, for estimates from the same sequences.

    Args:
        confidence: The level.
        sequences: The effective number of sequences.
        rows: The number of rows.
    """

    def __init__(self, confidence: float, sequences: float, rows: int) -> None:
        self._tail, self._rows = (1 - confidence) / 2, rows
        self._t = two_sided_quantile(confidence, sequences - 1)

    @classmethod
    def of_means(cls, confidence: float, means: Means) -> "Intervals":
        """For means and functions of them."""
        return cls(confidence, means.effective_clusters, means.rows)

    def bounds(self, estimate: Estimate, scale: ScaleName) -> tuple[float, float]:
        """Lower and upper bound; NaN without a clustered error, as for a single sequence."""
        value, error = estimate.value, estimate.clustered_standard_error
        if not math.isfinite(value) or math.isnan(error) or math.isnan(self._t):
            return math.nan, math.nan
        if scale == "logit" and value in (0, 1):
            return self._bounds_of_extreme_share(value)
        if error == 0:
            return value, value
        forward, slope, backward = _SCALES[scale]
        center, margin = forward(value), self._t * error * slope(value)
        return backward(center - margin), backward(center + margin)

    def _bounds_of_extreme_share(self, share: float) -> tuple[float, float]:
        """Binomial interval (C. J. Clopper and E. S. Pearson, Biometrika 26 (1934)): equal rows show no dependence."""
        reached: float = self._tail ** (1 / self._rows)
        return (reached, 1.0) if share else (0.0, 1 - reached)
