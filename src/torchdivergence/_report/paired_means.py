"""Differences of means over pairs of sequences, with their standard errors.

For sequence i let W be its number of rows (or the sum of their weights), and A and B the sums of a column in two
reports. The difference of the means is d = sum(B - A) / sum W, and its standard error is the clustered one (CR1) of the
pairs: the square root of

    n / (n - 1) * sum((B - A - d W)**2) / (sum W)**2.

Without pairs it would be the root of the sum of both squared errors. For the square root of a mean, A - a W is replaced
by its tangent (delta method). Every sum over sequences is rounded once, so their order does not matter.

The error is 0 if the mean difference is the same in every sequence. Then nothing is known about its variation, and the
bounds and the p value are NaN.
"""

import math
from typing import Literal, NamedTuple

from torch import Tensor

from torchdivergence._report.t_tests import Test, sequences_needed

Verdict = Literal["a", "b", "undecided"]
Better = Literal["lower", "higher"]

_ROUNDING = 2.0**-51
"""Bound on the relative rounding error of a mean times a weight."""


class MeanDifference(NamedTuple):
    """A mean in two reports a and b, and the difference."""

    a: float
    b: float
    difference: float
    """b - a."""
    standard_error: float
    """Of the difference, from pairs of sequences."""
    unpaired_standard_error: float
    """What it would be if the two reports were on different sequences."""
    lower: float
    upper: float
    """Confidence interval of the difference."""
    p_value: float
    """Of the hypothesis that the difference is 0. NaN, like the bounds, if the standard error is 0."""
    texts_needed: float
    """Number of sequences needed to detect a true difference of the observed size with the given power."""
    verdict: Verdict
    """Which of the two is better, if the interval does not contain 0."""


class _Side(NamedTuple):
    """A value of one report, and how much each sequence contributes to its deviation from the true value."""

    value: float
    influence: Tensor


class PairedSequences:
    """Pairs of sequences with equal weights.

    Args:
        weights: Float64, positive.
        test: The test that a difference is 0.
    """

    def __init__(self, weights: Tensor, test: Test) -> None:
        exponent = int(weights.max().frexp().exponent)
        self._scale = 2.0 ** -min(max(exponent, -1000), 1000)  # squares neither overflow nor vanish
        self._weights, self._test = weights * self._scale, test
        self.number, self._total = len(weights), _sum(self._weights)
        self.effective = self._total**2 / _sum(self._weights.square())

    def compare(self, a: Tensor, b: Tensor, better: Better, rooted: bool) -> MeanDifference:
        """The difference of two means, or of their square roots, from sums over sequences."""
        a, b = a * self._scale, b * self._scale
        first, second = self._side(a, rooted), self._side(b, rooted)
        if rooted:
            difference, influence = second.value - first.value, second.influence - first.influence
        else:  # directly: nothing cancels
            difference, influence = self._side(b - a)
        error = self._error(influence)
        known = error or math.nan
        t, reach = difference / known, self._test.margin(self.effective) * known
        lower, upper = difference - reach, difference + reach
        return MeanDifference(
            *(first.value, second.value, difference, error),
            unpaired_standard_error=math.hypot(self._error(first.influence), self._error(second.influence)),
            lower=lower,
            upper=upper,
            p_value=self._test.p_value(t, self.effective),
            texts_needed=sequences_needed(self._test, t, self.number, self.effective),
            verdict=_verdict(lower, upper, better),
        )

    def _side(self, sums: Tensor, rooted: bool = False) -> _Side:
        mean = _sum(sums) / self._total
        expected = mean * self._weights
        residuals = sums - expected
        residuals = residuals.masked_fill(residuals.abs() <= _ROUNDING * expected.abs(), 0.0)
        if not rooted:
            return _Side(mean, residuals)
        root = math.sqrt(mean)
        return _Side(root, residuals * (0.5 / root if root else 0.0))

    def _error(self, influence: Tensor) -> float:
        if self.number < 2:
            return math.nan
        error = math.sqrt(self.number / (self.number - 1) * _sum(influence.square())) / self._total
        return error if math.isfinite(error) else math.nan


def _sum(numbers: Tensor) -> float:
    """The sum, rounded once; NaN if it is too large for that."""
    try:
        return math.fsum(numbers.tolist()) if numbers.isfinite().all() else float(numbers.sum())
    except OverflowError:
        return math.nan


def _verdict(lower: float, upper: float, better: Better) -> Verdict:
    if not (lower > 0 or upper < 0):
        return "undecided"
    return "b" if (lower > 0) == (better == "higher") else "a"
