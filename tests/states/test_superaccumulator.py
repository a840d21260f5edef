"""The superaccumulator: exact sums of any floats, in any order and number, rounded once."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchdivergence._states.part import DIVERGENCE, RowBatch
from torchdivergence._states.row_totals import RowTotals, Totals

finite = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
TOTALS = RowTotals()
TINY, LARGEST = 5e-324, 1.7976931348623157e308


def state_of(values: list[float], weights: list[float] | None = None, items: int = 0) -> torch.Tensor:
    w = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    state = TOTALS.empty()
    TOTALS.accumulate_(state, RowBatch({DIVERGENCE: torch.tensor(values, dtype=torch.float64)}, w, items))
    return state


@settings(deadline=None, max_examples=300)
@given(st.lists(finite, max_size=30))
def test_the_sum_equals_the_sum_of_fractions_rounded_once(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction())
    expected = math.inf if exact >= Fraction(LARGEST) + Fraction(2) ** 970 else float(exact)
    assert TOTALS.read(state_of(values)).value == expected


@given(st.lists(st.floats(0, 1e300), max_size=50))
def test_the_sum_equals_fsum(values: list[float]) -> None:
    assert TOTALS.read(state_of(values)).value == math.fsum(values)


@given(st.lists(finite, max_size=20), st.lists(finite, max_size=20))
def test_states_merge_by_addition(left: list[float], right: list[float]) -> None:
    assert torch.equal(state_of(left) + state_of(right), state_of(left + right))


@given(st.lists(st.tuples(st.floats(0, 1e100), st.floats(0, 1e100)), max_size=20))
def test_values_are_weighted(rows: list[tuple[float, float]]) -> None:
    values, weights = [v for v, _ in rows], [w for _, w in rows]
    totals = TOTALS.read(state_of(values, weights))
    assert totals.value == math.fsum(v * w for v, w in rows)
    assert totals.weight == math.fsum(weights)


@pytest.mark.parametrize("value", [0.0, TINY, 2.2250738585072014e-308, 1.0, math.pi, LARGEST])
def test_a_single_value_is_returned_unchanged(value: float) -> None:
    assert TOTALS.read(state_of([value])).value == value


@pytest.mark.parametrize("invalid", [math.nan, -math.nan])
def test_infinite_and_invalid_values_are_counted_separately(invalid: float) -> None:
    totals = TOTALS.read(state_of([1.0, invalid, math.inf, 2.0, invalid], items=5))
    assert totals == Totals(value=math.inf, weight=3.0, items=5, invalid=2)


def test_a_value_of_weight_zero_is_ignored_even_if_invalid() -> None:
    values, weights = [1.0, math.nan, math.inf, 2.0], [1.0, 0.0, 0.0, 3.0]
    assert TOTALS.read(state_of(values, weights)) == Totals(value=7.0, weight=4.0, items=0, invalid=0)


def test_an_invalid_weight_makes_the_value_invalid() -> None:
    assert TOTALS.read(state_of([1.0, 2.0], [math.nan, 1.0])) == Totals(2.0, 1.0, 0, 1)


def test_ten_million_values_do_not_drift() -> None:
    value = 0.1
    state = torch.stack([state_of([value] * 10_000, items=10_000)] * 10).sum(0)
    state = state * 100  # states are integers: this merges a hundred of them
    totals = TOTALS.read(state)
    assert totals.value == float(10_000_000 * Fraction(value))
    assert (totals.weight, totals.items) == (1e7, 10_000_000)


def test_the_state_has_room_for_2_to_the_36_values() -> None:
    worst = 2.0 - 2.0**-52  # a full mantissa
    state = state_of([worst]) * 2**36
    assert TOTALS.read(state).value == float(Fraction(worst) * 2**36)
