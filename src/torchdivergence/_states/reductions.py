"""From the totals over rows to the one number that a user asked for; knows neither rows nor divergences."""

import math
from typing import TypeVar

from torchdivergence._states.superaccumulator import Totals

_Number = TypeVar("_Number")


def divisor(reduction: str, weight: _Number, items: int) -> _Number | int:
    """What the sum over rows is divided by."""
    if reduction == "mean":
        return weight
    return items if reduction == "batchmean" else 1


def reduce(totals: Totals, reduction: str, log_base: float) -> float:
    """The reduced value: NaN if a row is invalid, or if there is nothing to divide by."""
    by = divisor(reduction, totals.weight, totals.items)
    if totals.invalid or by == 0:
        return math.nan
    return totals.value / by / log_base
