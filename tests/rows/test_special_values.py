"""The values of special rows: equal, disjoint, masked and invalid ones."""

from itertools import product
from math import inf, log, nan

import pytest
import torch
from hypothesis import given, settings
from mpmath import mpf
from torch import Tensor

from tests.support.cases import each
from tests.support.definitions import relative_error
from tests.support.divergences import DIVERGENCES, EXPECTED_ACCEPTANCE, KL, Divergence, every_divergence
from tests.support.strategies import FINFO_MIN, logit_pairs
from tests.support.tolerances import FLOOR, RELATIVE_ERROR_FLOAT64, ROUNDING


@pytest.mark.parametrize(
    ("p", "q", "value"),
    [
        ([0.0, -inf], [0.0, -inf], 0.0),
        ([0.0, -inf], [0.0, 0.0], log(2)),
        ([0.0, 0.0], [0.0, -inf], inf),
        ([0.0, -inf], [-inf, 0.0], inf),
        ([5.0], [-7.0], 0.0),
        ([0.0, -1000.0], [-1000.0, 0.0], 1000.0),
        ([0.0, FINFO_MIN], [0.0, FINFO_MIN], 0.0),
        ([0.0, FINFO_MIN], [0.0, 0.0], log(2)),
        ([0.0, 0.0], [0.0, FINFO_MIN], float(-mpf(FINFO_MIN) / 2)),
        ([0.0, FINFO_MIN], [0.0, -inf], inf),
    ],
)
def test_masked_logits_have_the_value_of_the_formula(p: list[float], q: list[float], value: float) -> None:
    assert KL.value(torch.tensor(p), torch.tensor(q)) == pytest.approx(value, rel=1e-15)


@every_divergence
def test_a_class_missing_from_q_has_the_value_of_the_formula(divergence: Divergence) -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    assert relative_error(divergence.value(p, q, False), divergence.truth(p, q, False)) <= RELATIVE_ERROR_FLOAT64
    assert KL.value(p, q, False) == inf


@settings(deadline=None, max_examples=30)
@given(rows=logit_pairs())
def test_equal_rows_have_exactly_zero(rows: tuple[Tensor, Tensor]) -> None:
    for divergence in DIVERGENCES:
        assert not divergence.zero_iff_equal or divergence.value(rows[0], rows[0]) == 0, divergence


@settings(deadline=None, max_examples=100)
@given(rows=logit_pairs())
def test_equal_rows_have_an_expected_acceptance_of_exactly_one(rows: tuple[Tensor, Tensor]) -> None:
    for p in rows:
        assert EXPECTED_ACCEPTANCE.value(p, p) == 1
        assert EXPECTED_ACCEPTANCE.value(p.softmax(-1), p.softmax(-1), False) == 1


@pytest.mark.parametrize("log_prob", [True, False])
def test_disjoint_rows_have_an_expected_acceptance_of_exactly_zero(log_prob: bool) -> None:
    p, q = torch.rand(2, 40, 300, generator=torch.Generator().manual_seed(0)).unbind()
    p[:, 150:], q[:, :150] = 0, 0
    p, q = (p.log(), q.log()) if log_prob else (p, q)
    assert not EXPECTED_ACCEPTANCE.rows(p, q, log_prob).any()


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if d.bound < inf and d.zero_iff_equal], ids=str)
def test_disjoint_rows_reach_the_bound_and_never_exceed_it(divergence: Divergence) -> None:
    p, q = torch.rand(2, 3000, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    p[:, 20:], q[:, :20] = 0, 0
    values = divergence.rows(p, q, False)
    assert values.max() <= divergence.bound
    assert values.min() >= divergence.bound * (1 - RELATIVE_ERROR_FLOAT64)


GAPS = [
    ([0.0, -1000.0], [-1000.0, 0.0]),
    ([0.0, -1000.0], [0.0, -1709.0]),  # for chi-squared a class contributes p**2 / q = exp(-291)
    ([0.0, -1000.0], [0.0, -2000.0]),  # here it contributes 1, although p and q both underflow in float64
    ([0.0, -600.0], [0.0, -1400.0]),
    ([0.0, -300.0], [0.0, -1000.0]),
    ([0.0, -300.0, -5.0], [0.0, -900.0, -5.5]),
    ([0.0, 0.0], [0.0, -1000.0]),
    ([0.0, FINFO_MIN], [FINFO_MIN, 0.0]),
    ([0.0, FINFO_MIN], [0.0, -1000.0]),
    ([0.0, -1000.0], [0.0, FINFO_MIN]),
    ([0.0, FINFO_MIN, -inf], [0.0, 0.0, 0.0]),
]


@every_divergence
@each("swapped", [False, True])
@each("p, q", GAPS)
def test_logits_with_large_gaps_are_accurate(
    divergence: Divergence, p: list[float], q: list[float], swapped: bool
) -> None:
    rows = (torch.tensor(q), torch.tensor(p)) if swapped else (torch.tensor(p), torch.tensor(q))
    value, truth = divergence.value(*rows), divergence.truth(*rows)
    if truth >= FLOOR:
        assert relative_error(value, truth) <= RELATIVE_ERROR_FLOAT64
    else:
        assert abs(value - truth) <= ROUNDING


INVALID = [*product([True, False], [nan, inf, "no mass"]), (False, -0.1)]


@every_divergence
@each("log_prob, bad", INVALID)
@each("side", [0, 1])
def test_an_invalid_row_is_nan_and_its_neighbours_are_not(
    divergence: Divergence, log_prob: bool, bad: float | str, side: int
) -> None:
    rows = [torch.full((3, 4), 0.25), torch.full((3, 4), 0.25)]
    if isinstance(bad, str):
        rows[side][1] = -inf if log_prob else 0.0
    else:
        rows[side][1] = torch.tensor([0.5, 0.5, 0.0, bad])
    assert divergence.rows(rows[0], rows[1], log_prob).isnan().tolist() == [False, True, False]
