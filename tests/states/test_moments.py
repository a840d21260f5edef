"""Means and standard errors from exact sums of squares and products."""

import math
from fractions import Fraction

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdivergence._states.moments import Moments, stacked
from torchdivergence._states.part import DIVERGENCE, RowBatch


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=12), st.floats(1e-3, 1e3))
def test_moments_equal_those_of_fractions(numbers: list[float], offset: float) -> None:
    x = torch.tensor(numbers, dtype=torch.float64) * 1e-13 + offset  # differences far smaller than the values
    moments = Moments([DIVERGENCE])
    state = moments.empty()
    moments.accumulate_(state, RowBatch({DIVERGENCE: x}, None, len(x)))
    found = moments.read(state).estimates[DIVERGENCE]
    exact = [Fraction(value) for value in x.tolist()]
    n, mean = len(exact), sum(exact) / len(exact)
    assert found.value == float(mean)
    if n > 1:
        variance = sum((value - mean) ** 2 for value in exact) / (n - 1) / n
        # variances below 2**-100 of the squares are rounded
        floor = 2.0**-50 * float(max(map(abs, exact)))
        assert math.isclose(found.standard_error, math.sqrt(variance), rel_tol=1e-12, abs_tol=floor)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=1, max_size=6))
def test_the_effective_number_of_clusters_equals_that_of_fractions(weights: list[list[float]]) -> None:
    w = torch.tensor(weights, dtype=torch.float64)
    moments = Moments([DIVERGENCE])
    state = moments.empty()
    moments.accumulate_(state, RowBatch({DIVERGENCE: torch.ones_like(w)}, w, len(w)))
    found = moments.read(state)
    clusters = [sum(map(Fraction, row)) for row in w.tolist()]
    if max(clusters) < 1e-100:  # squares underflow
        return
    expected = float(sum(clusters) ** 2 / sum(x**2 for x in clusters))
    assert math.isclose(found.effective_clusters, expected, rel_tol=1e-12)
    assert found.effective_clusters <= found.clusters * (1 + 1e-12)


def test_stacked_columns_are_a_view_only_of_neighbors_in_memory() -> None:
    whole = torch.arange(24, dtype=torch.float64).view(4, 2, 3)
    a, b, c, d = whole.unbind()
    alone, turned = b.clone(), whole.permute(0, 2, 1).unbind()
    views = [a, b, c, d], [b, c], [x.contiguous() for x in (a, b)], list(turned[0].T.unsqueeze(0)), [c]
    copies = [b, a], [a, c], [a, a], [alone, c], [a, alone], [*turned], [turned[0]]
    for columns, is_view in (*((x, True) for x in views), *((x, False) for x in copies)):
        found = stacked(columns)
        assert found.is_contiguous() and torch.equal(found, torch.stack(columns))
        assert (found.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()) == is_view
