"""The value of a row of every divergence, against 50-digit arithmetic and other libraries."""

import math
from collections.abc import Callable
from functools import cache
from math import inf
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from mpmath import mpf
from torch import Tensor

from tests.support.definitions import distribution, near, relative_error
from tests.support.divergences import (
    CROSS_ENTROPY,
    ENTROPY,
    FAMILY,
    HELLINGER,
    KL,
    TOTAL_VARIATION,
    Member,
    alpha,
    renyi,
)
from tests.support.strategies import FINFO_MIN, logit_pairs

CONTRACT = 2e-6  # relative error for float32, float16 and bfloat16, of values from 1e-9 on
FLOOR = 1e-9
EXACT = 1e-12  # that for float64, of values from 1e-6 on
ROUNDING = 1e-15  # of a share, or of a difference of two logarithms
FIRST_ORDER = (TOTAL_VARIATION, HELLINGER)  # as delta, where the others are as its square: 1e-3 here is 1e-6 there

every = pytest.mark.parametrize("member", FAMILY, ids=str)


class Pair(NamedTuple):
    """Two rows, and the distributions that they stand for."""

    p: Tensor
    q: Tensor
    log_prob: bool
    shares: tuple[list[mpf], list[mpf]]

    def error(self, member: Member, floor: float) -> float:
        """The relative error of a member, 0 if the truth is below the floor."""
        truth = member.of(*self.shares)
        return relative_error(member.value(self.p, self.q, self.log_prob), truth) if truth >= floor else 0.0


def pair(p: Tensor, q: Tensor, log_prob: bool = True) -> Pair:
    return Pair(p, q, log_prob, (distribution(p, log_prob), distribution(q, log_prob)))


@cache
def logits(classes: int, spread: float, noise: float, dtype: torch.dtype, seed: int = 0) -> Pair:
    return pair(*near(classes, spread, noise, dtype, seed))


@cache
def probabilities(classes: int, spread: float, noise: float, dtype: torch.dtype, seed: int = 0) -> Pair:
    return pair(*(x.softmax(-1) for x in near(classes, spread, noise, dtype, seed)), False)


@every
@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (10, 0), (200, 0)])
@pytest.mark.parametrize("spread", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 10.0])
def test_logits_are_accurate(member: Member, classes: int, spread: float, noise: float, seed: int) -> None:
    assert logits(classes, spread, noise, torch.float32, seed).error(member, FLOOR) <= CONTRACT


@every
@pytest.mark.parametrize("noise", [1e-3, 3.0])
def test_rows_of_many_classes_are_accurate(member: Member, noise: float) -> None:
    assert logits(4001, 3.0, noise, torch.float32).error(member, FLOOR) <= CONTRACT


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 200])
def test_narrow_logits_are_exact_numbers(member: Member, classes: int, noise: float, dtype: torch.dtype) -> None:
    assert logits(classes, 5.0, noise, dtype).error(member, FLOOR) <= CONTRACT


@every
@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 10.0])
def test_probabilities_are_accurate(member: Member, classes: int, noise: float) -> None:
    assert probabilities(classes, 2.0, noise, torch.float32).error(member, FLOOR) <= CONTRACT


@every
@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (2, 1), (2, 2), (10, 0), (10, 1), (200, 0)])
@pytest.mark.parametrize("noise", [1e-3, 1e-2, 0.1, 3.0])
@pytest.mark.parametrize("rows", [logits, probabilities], ids=["logits", "probabilities"])
@pytest.mark.parametrize("spread", [5.0, 20.0])
def test_float64_is_accurate_to_1e_12(
    member: Member, classes: int, spread: float, noise: float, rows: Callable[..., Pair], seed: int
) -> None:
    floor = 1e-3 if member in FIRST_ORDER else 1e-6
    assert rows(classes, spread, noise, torch.float64, seed).error(member, floor) <= EXACT


@pytest.mark.parametrize("member", FIRST_ORDER, ids=str)
@pytest.mark.parametrize("noise", [1e-8, 1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("seed", range(5))
def test_small_distances_of_float64_have_the_error_of_a_rounding(member: Member, noise: float, seed: int) -> None:
    rows = logits(10, 5.0, noise, torch.float64, seed)
    assert abs(member.value(rows.p, rows.q) - member.of(*rows.shares)) <= ROUNDING


@every
@pytest.mark.parametrize("log_prob", [True, False])
@pytest.mark.parametrize("shared", [0, 1, 6])
def test_disjoint_or_partly_shared_supports_are_right(member: Member, shared: int, log_prob: bool) -> None:
    p, q = (x.softmax(-1) for x in near(21, 2.0, 3.0))
    p[:7], q[7 + shared : 14] = 0, 0  # 14 to 20 belong to both
    if not shared:
        q[7:] = 0
    rows = pair(p.log(), q.log()) if log_prob else pair(p, q, False)
    assert rows.error(member, FLOOR) <= CONTRACT


@pytest.mark.parametrize("member", [m for m in FAMILY if m.bound < inf], ids=str)
def test_disjoint_rows_reach_the_bound_and_none_is_above(member: Member) -> None:
    p, q = torch.rand(2, 3000, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    p[:, 20:], q[:, :20] = 0, 0
    values = member.rows(p, q, False)
    assert values.max() <= member.bound
    assert values.min() >= member.bound * (1 - EXACT)


@every
@settings(deadline=None, max_examples=80)
@given(rows=logit_pairs())
def test_any_row_is_right_or_infinite_and_never_nan(member: Member, rows: tuple[Tensor, Tensor]) -> None:
    value, truth = member.value(*rows), member.truth(*rows)
    assert 0 <= value <= member.bound
    assert relative_error(value, truth) <= CONTRACT if truth >= FLOOR else abs(value - truth) <= ROUNDING


@pytest.mark.parametrize("member", [m for m in FAMILY if m.compares], ids=str)
@settings(deadline=None, max_examples=30)
@given(rows=logit_pairs())
def test_equal_rows_have_exactly_zero(member: Member, rows: tuple[Tensor, Tensor]) -> None:
    assert member.value(rows[0], rows[0]) == 0


GAPS = [
    ([0.0, -1000.0], [-1000.0, 0.0]),
    ([0.0, -1000.0], [0.0, -1709.0]),  # chi-squared: a class of p**2 / q = exp(-291)
    ([0.0, -1000.0], [0.0, -2000.0]),  # and of 1, though neither p nor q is a number of float64
    ([0.0, -600.0], [0.0, -1400.0]),
    ([0.0, -300.0], [0.0, -1000.0]),
    ([0.0, -300.0, -5.0], [0.0, -900.0, -5.5]),
    ([0.0, 0.0], [0.0, -1000.0]),
    ([0.0, FINFO_MIN], [FINFO_MIN, 0.0]),
    ([0.0, FINFO_MIN], [0.0, -1000.0]),
    ([0.0, -1000.0], [0.0, FINFO_MIN]),
    ([0.0, FINFO_MIN, -inf], [0.0, 0.0, 0.0]),
]


@every
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("p", "q"), GAPS)
def test_rows_with_large_gaps_are_right(member: Member, p: list[float], q: list[float], swapped: bool) -> None:
    rows = (torch.tensor(q), torch.tensor(p)) if swapped else (torch.tensor(p), torch.tensor(q))
    value, truth = member.value(*rows), member.truth(*rows)
    assert relative_error(value, truth) <= EXACT if truth >= FLOOR else abs(value - truth) <= ROUNDING


@pytest.mark.parametrize("order", [0.01, 0.3, 0.5, 0.9, 1, 1.5, 2, 10])
@pytest.mark.parametrize("gap", [30.0, 300.0, 700.0, 1000.0, 5000.0])
def test_renyi_divergence_of_almost_disjoint_rows_is_right(order: float, gap: float) -> None:
    p, q = torch.tensor([0.0, -gap, -gap]), torch.tensor([-gap, 0.0, -1.0])
    assert relative_error(renyi(order).value(p, q), renyi(order).truth(p, q)) <= 1e-14


STEPS = [-1e-2, -1e-4, -1e-6, -1e-8, -1e-12, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2]
NEAR_LIMITS = [*(make(1 + step) for make in (alpha, renyi) for step in STEPS), *map(alpha, STEPS)]


@pytest.mark.parametrize("member", NEAR_LIMITS, ids=str)
@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_orders_close_to_the_limits_are_accurate(member: Member, noise: float) -> None:
    rows = logits(10, 2.0, noise, torch.float32)
    assert member.of(*rows.shares) > FLOOR
    assert rows.error(member, FLOOR) <= CONTRACT


@pytest.mark.parametrize("order", [1e-12, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_small_orders_of_renyi_are_accurate(order: float, noise: float) -> None:
    rows = logits(10, 2.0, noise, torch.float32)  # the value is about the order times the reverse divergence
    assert rows.error(renyi(order), FLOOR * order) <= CONTRACT


@settings(deadline=None, max_examples=200)
@given(rows=logit_pairs())
def test_kl_divergence_is_cross_entropy_less_entropy(rows: tuple[Tensor, Tensor]) -> None:
    kl, h, ce = (m.value(*rows) for m in (KL, ENTROPY, CROSS_ENTROPY))
    rounding = 2 * len(rows[0]) * math.ulp(ce)  # that of three sums, and of the terms of one
    underflow = 1e-300  # a share that is no number stands for the smallest normal one
    assert ce == kl == inf or abs(kl - (ce - h)) <= max(rounding, underflow)
    assert CROSS_ENTROPY.value(rows[0], rows[0]) == ENTROPY.value(rows[0], rows[0]) == pytest.approx(h, rel=rounding)
