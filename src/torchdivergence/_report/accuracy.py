"""Whether two models predict the targets, and which of them does so more often."""

import math
import sys

from torchdivergence._report.intervals import Intervals
from torchdivergence._report.named_values import estimate_values
from torchdivergence._states.contingency import Counts
from torchdivergence._states.moments import Means

_DIFFERENCE = "accuracy_difference"


def correctness_values(means: Means, confidence: float) -> dict[str, float]:
    """Shares of rows, and the difference of two of them, by names; none without rows."""
    if not means.rows:
        return {}
    intervals = Intervals.of_means(confidence, means)
    values: dict[str, float] = {}
    for name, estimate in means.estimates.items():
        values |= estimate_values(estimate, intervals, "linear" if name == _DIFFERENCE else "logit", name)
    return values


def mcnemar_values(counts: Counts) -> dict[str, float]:
    """The p value of McNemar's test for rows on which p alone is right and on which q alone is; none without rows."""
    return {"mcnemar_p_value": mcnemar_p_value(counts.first, counts.second)} if any(counts) else {}


def mcnemar_p_value(first: int, second: int) -> float:
    """The exact two-sided test that both of two counts have the same expectation.

    Given their sum n, each count is then binomial with probability 1/2, so the p value is twice the probability of at
    most the smaller count, or 1 if that is larger. Its relative error is about 2**-52 log(n!): 3e-9 for a million rows.

    Source: Q. McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or Percentages",
    Psychometrika 12 (1947); the exact form in M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar Test for Binary
    Matched-Pairs Data", BMC Med. Res. Methodol. 13 (2013).
    """
    n, k = first + second, min(first, second)
    term = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    tail = 0.0
    while term > tail * sys.float_info.epsilon:
        tail += term
        term *= k / (n - k + 1)
        k -= 1
    return min(1.0, 2 * tail)
