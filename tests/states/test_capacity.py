"""Capacity: sums over up to 2**37 rows are exact, and more raise an error. A metric is merged with itself."""

import math
from fractions import Fraction
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from tests.support.cases import each
from tests.support.definitions import near
from torchdivergence import KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence

CAPACITY = 37  # metrics have room for 2**37 = 1.4e11 rows of any values and weights
DOUBLE = torch.float64
APART = (
    torch.tensor([1.0, 0.0], dtype=DOUBLE),
    torch.tensor([0.0, 1.0], dtype=DOUBLE),
)  # at a total variation distance of exactly 1
SMALLEST, LARGEST = math.ulp(0.0), math.nextafter(math.inf, 0)
FULL = 2.0 - 2.0**-52  # all bits of the mantissa are set
WORST = [FULL, math.nextafter(2.0**-1022, 0), SMALLEST, 2.0**-1022, 1.0, 1 / 3, FULL * 2.0**900, LARGEST]

M = TypeVar("M", bound=Metric)
some_floats = st.lists(st.floats(0, allow_nan=False, allow_infinity=False), min_size=1, max_size=8)


def with_rows(weights: list[float], metric: M) -> M:
    """Update with one row for each weight, whose weighted value is the weight."""
    p, q = (x.expand(len(weights), 2) for x in APART)
    metric.update(p, q, weights=torch.tensor(weights, dtype=DOUBLE))
    return metric


def doubled(metric: M, times: int) -> M:
    """Merge the metric with itself so many times."""
    for _ in range(times):
        metric.merge_state(metric)
    return metric


def rounded(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf


def exact_sum(values: Tensor) -> Fraction:
    return sum(map(Fraction, values.tolist()), Fraction())


@pytest.mark.parametrize("times", [0, 20, CAPACITY - 10])
def test_the_mean_of_many_rows_does_not_drift(times: int) -> None:
    p, q = near((1000, 10), 3.0, 0.1)
    metric = KLDivergence(log_prob=True)
    metric.update(p, q)
    exact = exact_sum(kl_divergence(p, q, log_prob=True, reduction="none"))
    assert doubled(metric, times).compute().item() == float(exact * 2**times) / (1000 * 2**times)


@each("times", range(CAPACITY + 1))
@pytest.mark.parametrize("value", WORST, ids=float.hex)
def test_every_doubling_doubles_the_exact_sum(value: float, times: int) -> None:
    total = doubled(with_rows([value], TotalVariationDistance(reduction="sum")), times)
    assert total.compute().item() == rounded(Fraction(value) * 2**times)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(some_floats, st.integers(0, CAPACITY - 7)), min_size=1, max_size=6))
def test_sums_of_any_repeated_floats_are_rounded_once(parts: list[tuple[list[float], int]]) -> None:
    whole, exact = TotalVariationDistance(reduction="sum"), Fraction()
    for weights, times in parts:
        whole.merge_state(doubled(with_rows(weights, TotalVariationDistance(reduction="sum")), times))
        exact += exact_sum(torch.tensor(weights, dtype=DOUBLE)) * 2**times
    assert whole.compute().item() == rounded(exact)


@pytest.mark.parametrize("weight", WORST[:-1], ids=float.hex)
def test_sums_of_weights_have_the_same_capacity(weight: float) -> None:
    assert doubled(with_rows([weight], TotalVariationDistance()), CAPACITY).compute() == 1


def test_a_small_row_is_not_lost_among_many_large_ones() -> None:
    metric = doubled(with_rows([2.0**15], TotalVariationDistance(reduction="sum")), CAPACITY - 1)
    for small in (2.0**-20, 0.5):
        metric.merge_state(with_rows([small], TotalVariationDistance(reduction="sum")))
    assert metric.compute().item() == rounded(2**51 + Fraction(1, 2) + Fraction(1, 2**20)) == 2.0**51 + 0.5


def test_2_to_the_35_invalid_and_infinite_rows_are_counted() -> None:
    metric = KLDivergence(nan_policy="omit")
    p = torch.tensor([[1.0, 0.0], [math.nan, 1.0], [0.5, 0.5]], dtype=DOUBLE)
    metric.update(p, torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]], dtype=DOUBLE))
    assert doubled(metric, 35).n_invalid == 2**35
    assert metric.compute() == math.inf


@pytest.mark.parametrize("times", [CAPACITY + 1, 62, 64])
def test_more_rows_than_the_capacity_raise_an_error(times: int) -> None:
    metric = doubled(with_rows([FULL, 1.0, 0.5], TotalVariationDistance()), times - 1)
    with pytest.raises(OverflowError, match="a sum has room for 137,438,953,472 numbers, and more were added"):
        metric.compute()


def test_batchmean_counts_many_items() -> None:
    metric = TotalVariationDistance(reduction="batchmean")
    metric.update(*(x.expand(3, 5, 2) for x in APART))
    assert doubled(metric, CAPACITY - 4).compute() == 5
