"""From the totals over rows to the one number that a user asked for; knows neither rows nor divergences."""

import math

from torchdivergence._accumulators import Totals


def reduce(totals: Totals, reduction: str, log_base: float) -> float:
    """The reduced value: NaN if a row is invalid, or if there is nothing to divide by."""
    divisor = {"mean": totals.weight, "batchmean": totals.items, "sum": 1}[reduction]
    if totals.invalid or divisor == 0:
        return math.nan
    return totals.value / divisor / log_base
