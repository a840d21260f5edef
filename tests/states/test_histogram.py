"""Quantiles from a histogram, exact extrema, and the bins behind them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.backends import use_backend
from torchdivergence._layout import BINS
from torchdivergence._states.bins import bin_of, edges
from torchdivergence._states.histogram import Distribution, Histogram
from torchdivergence._states.part import DIVERGENCE, RowBatch

DOUBLE = torch.float64


def distribution(numbers: Tensor, signed: bool = True) -> Distribution:
    histogram = Histogram(DIVERGENCE, signed=signed)
    state = histogram.empty()
    histogram.accumulate_(state, RowBatch({DIVERGENCE: numbers}, None, len(numbers)))
    return histogram.read(state)


def largest_error(number: float) -> float:
    """The stated error of a quantile that is a number of this size; nothing is stated for NaN."""
    size = abs(number)
    if size in (0, math.inf):
        return 0.0
    relative = 2**-10 if 2**-40 <= size < 2**8 else 2**-6
    return relative * size if 2**-167 <= size < 2**136 else math.nan


numbers_of_any_size = st.floats(allow_nan=False) | st.floats(2**-40, 2**8) | st.floats(2**-167, 2**136)


@settings(deadline=None, max_examples=300)
@given(st.lists(numbers_of_any_size, min_size=1, max_size=40), st.sampled_from([0, 0.001, 0.1, 0.5, 0.9, 1]))
def test_a_quantile_has_the_stated_error_of_its_neighbours(numbers: list[float], q: float) -> None:
    x = torch.tensor(numbers, dtype=DOUBLE)
    found = distribution(x)
    ordered = sorted(numbers)
    low = ordered[math.floor((len(x) - 1) * q)]
    high = ordered[min(math.floor((len(x) - 1) * q) + 1, len(x) - 1)]
    value = found.quantile(q)
    assert (found.minimum, found.maximum) == (ordered[0], ordered[-1])
    below, above = largest_error(low), largest_error(high)
    if not math.isnan(below + above) and math.isfinite(high - low):
        assert low - below <= value <= high + above
    assert ordered[0] <= value <= ordered[-1] or (low, high) == (-math.inf, math.inf)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([0.0, math.inf]) | st.floats(1e-30, 1e30), min_size=1, max_size=40))
def test_the_tail_has_the_share_of_numbers_that_are_at_least_as_large(numbers: list[float]) -> None:
    found = distribution(torch.tensor(numbers, dtype=DOUBLE), signed=False)
    *points, end = zip(*found.tail(), strict=True) if any(0 < x < math.inf for x in numbers) else [(math.nan, 0.0)]
    assert all(share == sum(y >= x for y in numbers) / len(numbers) for x, share in points)
    assert (found.zeros, found.infinite) == (numbers.count(0.0), numbers.count(math.inf))
    if points:
        largest = max(x for x in numbers if x < math.inf)
        assert end[0] == pytest.approx(largest, rel=2**-5) and end[1] == max(1, found.infinite) / len(numbers)
        assert points[0][1] == (len(numbers) - found.zeros) / len(numbers)
    else:
        assert found.tail() == ([], [])


@pytest.mark.parametrize("exponent", [-160, -100, -60, -34, -30, -20, -10, 0, 4, 20, 120])
def test_quantiles_of_any_magnitude_are_close_to_those_of_numpy(exponent: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, generator=generator, dtype=DOUBLE).exp() * 2.0**exponent
    error = 2**-10 if -34 <= exponent <= 3 else 2**-6  # the quantiles are within e**3.2 of the magnitude
    found = distribution(x, signed=False)
    levels = [0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999]
    np.testing.assert_allclose([found.quantile(q) for q in levels], np.quantile(x, levels), rtol=error)
    mirrored = distribution(-x)
    np.testing.assert_allclose([mirrored.quantile(q) for q in levels], np.quantile(-x, levels), rtol=error)


def test_a_bin_reaches_from_its_edge_to_the_next() -> None:
    lower = edges()
    first, smallest, largest = lower[2:-1], math.ulp(0.0), torch.finfo(DOUBLE).max
    assert (first.diff() > 0).all() and first[[0, -2]].tolist() == [2.0**-167, 2.0**136]
    assert torch.equal(bin_of(first.view(torch.int64)), torch.arange(2, BINS))
    last = torch.nextafter(first, torch.zeros((), dtype=DOUBLE))
    assert torch.equal(bin_of(last.view(torch.int64)), torch.arange(1, BINS - 1))
    ends = torch.tensor([0.0, smallest, largest, math.inf], dtype=DOUBLE)
    assert bin_of(ends.view(torch.int64)).tolist() == [0, 1, BINS - 2, BINS - 1]


def test_the_bins_have_the_stated_widths() -> None:
    low, high = edges()[2:-3], edges()[3:-2]
    error = (high - low) / (high + low)  # of the harmonic mean, at both edges
    fine = (low >= 2**-40) & (low < 2**8)
    assert (error[fine] < 2**-10).all() and (error[~fine] < 2**-6).all()
    assert fine.sum() == 48 * 512 and (~fine).sum() == 255 * 32


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_numbers_beyond_the_bins_are_counted_and_bounded_by_the_extrema(backend: str) -> None:
    x = torch.tensor([0.0, 0.0, 5e-324, 1e-60, 1e-55, 1e300, 1e306, 1e307, math.inf], dtype=DOUBLE)
    with use_backend(backend):
        found = distribution(x, signed=False)
    assert (found.total, found.infinite, found.minimum, found.maximum) == (9, 1, 0.0, math.inf)
    assert [found.quantile(k / 8) for k in range(9)] == [0.0] * 5 + [2.0**136] * 3 + [math.inf]
    assert distribution(x[5:6]).quantile(0.5) == 1e300
