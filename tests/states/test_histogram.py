"""Quantiles from a histogram, and exact extrema."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdivergence._states.histogram import Distribution, Histogram
from torchdivergence._states.part import DIVERGENCE, RowBatch


def distribution(numbers: list[float], signed: bool = False) -> Distribution:
    x = torch.tensor(numbers, dtype=torch.float64)
    histogram = Histogram(DIVERGENCE, signed)
    state = histogram.empty()
    histogram.accumulate_(state, RowBatch({DIVERGENCE: x}, None, len(x)))
    return histogram.read(state)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=40), st.sampled_from([0, 0.001, 0.1, 0.5, 0.9, 1]))
def test_a_quantile_is_off_by_at_most_2_to_the_minus_8_of_its_neighbours(numbers: list[float], q: float) -> None:
    x, found = torch.tensor(numbers, dtype=torch.float64), distribution(numbers, signed=True)
    ordered = sorted(numbers)
    low = ordered[math.floor((len(x) - 1) * q)]
    high = ordered[min(math.floor((len(x) - 1) * q) + 1, len(x) - 1)]
    value = found.quantile(q)
    assert (found.minimum, found.maximum) == (ordered[0], ordered[-1])
    if all(1.2e-38 < abs(x) < 3.4e38 for x in (low, high)):
        assert low - abs(low) / 256 <= value <= high + abs(high) / 256
    assert ordered[0] <= value <= ordered[-1] or (low, high) == (-math.inf, math.inf)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([0.0, math.inf]) | st.floats(1e-30, 1e30), min_size=1, max_size=40))
def test_the_tail_has_the_share_of_numbers_that_are_at_least_as_large(numbers: list[float]) -> None:
    found = distribution(numbers)
    *points, end = zip(*found.tail(), strict=True) if any(0 < x < math.inf for x in numbers) else [(math.nan, 0.0)]
    assert all(share == sum(y >= x for y in numbers) / len(numbers) for x, share in points)
    assert (found.zeros, found.infinite) == (numbers.count(0.0), numbers.count(math.inf))
    if points:
        largest = max(x for x in numbers if x < math.inf)
        assert end[0] == pytest.approx(largest, rel=2**-7) and end[1] == max(1, found.infinite) / len(numbers)
        assert points[0][1] == (len(numbers) - found.zeros) / len(numbers)
    else:
        assert found.tail() == ([], [])
