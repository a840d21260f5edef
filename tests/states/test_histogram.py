"""Quantiles from a histogram, and exact extrema."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdivergence._states.histogram import Histogram
from torchdivergence._states.part import DIVERGENCE, RowBatch


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=40), st.sampled_from([0, 0.001, 0.1, 0.5, 0.9, 1]))
def test_a_quantile_is_off_by_at_most_2_to_the_minus_8_of_its_neighbours(numbers: list[float], q: float) -> None:
    x = torch.tensor(numbers, dtype=torch.float64)
    histogram = Histogram(DIVERGENCE, signed=True)
    state = histogram.empty()
    histogram.accumulate_(state, RowBatch({DIVERGENCE: x}, None, len(x)))
    found = histogram.read(state)
    ordered = sorted(numbers)
    low = ordered[math.floor((len(x) - 1) * q)]
    high = ordered[min(math.floor((len(x) - 1) * q) + 1, len(x) - 1)]
    value = found.quantile(q)
    assert (found.minimum, found.maximum) == (ordered[0], ordered[-1])
    if all(1.2e-38 < abs(x) < 3.4e38 for x in (low, high)):
        assert low - abs(low) / 256 <= value <= high + abs(high) / 256
    assert ordered[0] <= value <= ordered[-1] or (low, high) == (-math.inf, math.inf)
