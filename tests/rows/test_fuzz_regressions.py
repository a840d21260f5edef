"""What the fuzz found: rows and parameters whose value is not the one that the docstrings promise."""

import math

import pytest
import torch
from mpmath import mp
from torch import Tensor

from tests.rows.test_corpus import Row
from tests.support.backends import ENGINES, only
from tests.support.definitions import distribution, relative_error
from tests.support.divergences import (
    CHI_SQUARED,
    FAMILY,
    KL,
    REVERSE_KL,
    Member,
    alpha,
    jensen_shannon,
)
from tests.support.tolerances import promised

inf = math.inf
SINGLE, DOUBLE = torch.float32, torch.float64
LOGS, WEIGHTS = (True, True), (False, False)


def row(
    p: list[float],
    q: list[float],
    dtype: torch.dtype = DOUBLE,
    log_prob: tuple[bool, bool] = LOGS,
    temperature: float = 1.0,
) -> Row:
    return Row(torch.tensor(p, dtype=dtype), torch.tensor(q, dtype=dtype), log_prob, temperature)


def error(member: Member, row: Row) -> float:
    """The relative error, in units of the one that is promised."""
    p, q, log_prob, temperature = row
    with mp.workdps(700):
        shares = (distribution(x, is_log, temperature) for x, is_log in zip((p, q), log_prob, strict=True))
        truth = member.of(*shares)
        promise, floor = promised(member, (p.dtype, q.dtype), log_prob)
        assert truth >= floor
        return relative_error(float(member.rows(p, q, log_prob, temperature=temperature)), truth) / promise


COUNTS = [
    (KL, [273.0, 692.0, 621.0], [272.0, 691.0, 618.0]),
    (CHI_SQUARED, [13792.0, 27671.0, 25359.0], [13777.0, 27559.0, 25251.0]),
    (KL, [5.167547892341252e293, 1.8410807076085528e295], [5.1966622806463475e293, 1.8693210354725766e295]),
]


@pytest.mark.parametrize(("member", "p", "q"), COUNTS, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_counts_far_from_a_sum_of_1_are_as_accurate_as_probabilities(
    engine: str, member: Member, p: list[float], q: list[float]
) -> None:
    with only(engine):
        assert error(member, row(p, q, log_prob=WEIGHTS)) <= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_beta_is_accurate_where_q_is_zero(engine: str) -> None:
    with only(engine):
        assert error(jensen_shannon(1e-6), row([0.0, -inf], [-inf, 0.0])) <= 1


@pytest.mark.parametrize("beta", [1e-20, 1e-300])
@pytest.mark.parametrize("engine", ENGINES)
def test_jensen_shannon_over_a_small_beta_is_kl_divergence(engine: str, beta: float) -> None:
    p, q = torch.tensor([0.0, 0.0]), torch.tensor([0.0, -30.0])
    with only(engine):
        assert jensen_shannon(beta).value(p, q) / beta == pytest.approx(KL.value(p, q), rel=1e-6)


@pytest.mark.parametrize("order", [1e155, -1e155, 1e300, -1e300])
def test_alpha_divergence_of_a_large_order_is_no_nan(order: float) -> None:
    assert alpha(order).value(torch.tensor([0.0, 0.1, 0.3]), torch.tensor([0.1, 0.2, -0.3])) == inf


@pytest.mark.parametrize("order", [5e-324, -5e-324])
def test_alpha_divergence_of_a_tiny_order_is_the_reverse_kl_divergence(order: float) -> None:
    p, q = torch.tensor([0.0, 0.1, 0.3]), torch.tensor([0.1, 0.2, -0.3])
    assert alpha(order).value(p, q) == pytest.approx(REVERSE_KL.value(p, q), rel=1e-12)


SMALL_TEMPERATURES = [
    row([3e38, 1e38], [1e38, 3e37], SINGLE, temperature=1e-271),
    row([0.0, 1e38], [1e38, 0.0], SINGLE, temperature=1e-305),
    row([-745.0, 1.7e308, 1.7e308], [1.7e308, 1.7e308, -745.0], temperature=0.1),
]


@pytest.mark.parametrize("rows", SMALL_TEMPERATURES, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_finite_logits_over_a_small_temperature_are_no_invalid_row(engine: str, rows: Row) -> None:
    with only(engine):
        values = [m.rows(rows.p, rows.q, LOGS, temperature=rows.temperature) for m in FAMILY]
    assert not torch.stack(values).isnan().any()


@pytest.mark.parametrize("line", ["0.5 0.5 | 0.5 0.5", "1 0 0 | 1 5e-324 0"])
@pytest.mark.parametrize("member", FAMILY, ids=str)
def test_zero_has_no_sign(member: Member, line: str) -> None:
    p, q = (torch.tensor([float(x) for x in side.split()], dtype=DOUBLE) for side in line.split("|"))
    assert math.copysign(1, member.value(p, q, False)) == 1


def slopes(member: Member, p: Tensor, q: Tensor, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    p, q = p.clone().requires_grad_(), q.clone().requires_grad_()
    return torch.autograd.grad(member.rows(p, q, log_prob), (p, q))


@pytest.mark.parametrize("member", FAMILY, ids=str)
@pytest.mark.parametrize("exponent", [-60, -100, -140])
def test_the_slope_by_a_weight_goes_with_the_inverse_of_the_weights(member: Member, exponent: int) -> None:
    p, q, scale = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0]), 2.0**exponent
    expected = slopes(member, p.double(), q.double(), WEIGHTS)
    for slope, of_one in zip(slopes(member, p * scale, q * scale, WEIGHTS), expected, strict=True):
        limit = torch.finfo(SINGLE).max
        torch.testing.assert_close(slope, (of_one / scale).clamp(-limit, limit).float(), rtol=1e-5, atol=1e-5 / scale)


@pytest.mark.parametrize("member", [m for m in FAMILY if m.parameter.get("alpha", 1) > 0], ids=str)
@pytest.mark.parametrize("mask", [-1e4, torch.finfo(SINGLE).min])
def test_the_slopes_by_q_under_a_finite_mask_are_those_of_a_zero(member: Member, mask: float) -> None:
    q = torch.tensor([0.5, 0.4, 0.1])
    _, slope = slopes(member, torch.tensor([0.0, 0.0, mask]), q, (True, False))
    _, expected = slopes(member, torch.tensor([0.5, 0.5, 0.0]), q, WEIGHTS)
    assert slope.isfinite().all()
    if member.bound < inf:  # the others are steep there, and go on to be steeper
        torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("member", FAMILY, ids=str)
@pytest.mark.parametrize(("p", "q"), [([0.0, -744.5], [0.0, -1000.0]), ([0.0, -744.0], [0.0, -1e30])])
def test_slopes_are_finite_where_the_value_is(member: Member, p: list[float], q: list[float]) -> None:
    for slope in slopes(member, torch.tensor(p), torch.tensor(q), LOGS):
        assert slope.isfinite().all()
