"""Rows and parameters for which fuzzing once found a wrong value or gradient."""

import math

import pytest
import torch
from mpmath import mp
from torch import Tensor

from tests.support.backends import BACKENDS, use_backend
from tests.support.corpus import Row
from tests.support.definitions import distribution, relative_error
from tests.support.divergences import (
    CHI_SQUARED,
    DIVERGENCES,
    KL,
    REVERSE_KL,
    Divergence,
    alpha,
    every_divergence,
    jensen_shannon,
)
from tests.support.tolerances import stated_error

inf = math.inf
SINGLE, DOUBLE = torch.float32, torch.float64
LOGITS, WEIGHTS = (True, True), (False, False)


def row(
    p: list[float],
    q: list[float],
    dtype: torch.dtype = DOUBLE,
    log_prob: tuple[bool, bool] = LOGITS,
    temperature: float = 1.0,
) -> Row:
    return Row(torch.tensor(p, dtype=dtype), torch.tensor(q, dtype=dtype), log_prob, temperature)


def error(divergence: Divergence, row: Row) -> float:
    """The relative error as a multiple of the stated one."""
    p, q, log_prob, temperature = row
    with mp.workdps(700):
        p_is_log, q_is_log = log_prob
        truth = divergence.truth_of(distribution(p, p_is_log, temperature), distribution(q, q_is_log, temperature))
        stated, floor = stated_error(divergence, (p.dtype, q.dtype), log_prob)
        assert truth >= floor
        return relative_error(float(divergence.rows(p, q, log_prob, temperature=temperature)), truth) / stated


COUNTS = [
    (KL, [273.0, 692.0, 621.0], [272.0, 691.0, 618.0]),
    (CHI_SQUARED, [13792.0, 27671.0, 25359.0], [13777.0, 27559.0, 25251.0]),
    (KL, [5.167547892341252e293, 1.8410807076085528e295], [5.1966622806463475e293, 1.8693210354725766e295]),
]


@pytest.mark.parametrize(("divergence", "p", "q"), COUNTS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_with_a_large_sum_are_as_accurate_as_probabilities(
    backend: str, divergence: Divergence, p: list[float], q: list[float]
) -> None:
    with use_backend(backend):
        assert error(divergence, row(p, q, log_prob=WEIGHTS)) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_small_beta_is_accurate_where_q_is_zero(backend: str) -> None:
    with use_backend(backend):
        assert error(jensen_shannon(1e-6), row([0.0, -inf], [-inf, 0.0])) <= 1


@pytest.mark.parametrize("beta", [1e-20, 1e-300])
@pytest.mark.parametrize("backend", BACKENDS)
def test_jensen_shannon_divergence_over_a_small_beta_is_kl_divergence(backend: str, beta: float) -> None:
    p, q = torch.tensor([0.0, 0.0]), torch.tensor([0.0, -30.0])
    with use_backend(backend):
        assert jensen_shannon(beta).value(p, q) / beta == pytest.approx(KL.value(p, q), rel=1e-6)


@pytest.mark.parametrize("order", [1e155, -1e155, 1e300, -1e300])
def test_alpha_divergence_of_a_large_order_is_infinite_and_not_nan(order: float) -> None:
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
@pytest.mark.parametrize("backend", BACKENDS)
def test_finite_logits_over_a_small_temperature_are_valid(backend: str, rows: Row) -> None:
    with use_backend(backend):
        values = [d.rows(rows.p, rows.q, LOGITS, temperature=rows.temperature) for d in DIVERGENCES]
    assert not torch.stack(values).isnan().any()


@pytest.mark.parametrize("line", ["0.5 0.5 | 0.5 0.5", "1 0 0 | 1 5e-324 0"])
@every_divergence
def test_zero_has_no_sign(divergence: Divergence, line: str) -> None:
    p, q = (torch.tensor([float(x) for x in side.split()], dtype=DOUBLE) for side in line.split("|"))
    assert math.copysign(1, divergence.value(p, q, False)) == 1


def gradients(divergence: Divergence, p: Tensor, q: Tensor, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    p, q = p.clone().requires_grad_(), q.clone().requires_grad_()
    grad_p, grad_q = torch.autograd.grad(divergence.rows(p, q, log_prob), (p, q))
    return grad_p, grad_q


@every_divergence
@pytest.mark.parametrize("exponent", [-60, -100, -140])
def test_gradients_are_inversely_proportional_to_the_scale_of_weights(divergence: Divergence, exponent: int) -> None:
    p, q, scale = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0]), 2.0**exponent
    unscaled = gradients(divergence, p.double(), q.double(), WEIGHTS)
    limit = torch.finfo(SINGLE).max
    for grad, grad_of_unscaled in zip(gradients(divergence, p * scale, q * scale, WEIGHTS), unscaled, strict=True):
        expected = (grad_of_unscaled / scale).clamp(-limit, limit).float()
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-5 / scale)


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if d.parameter.get("alpha", 1) > 0], ids=str)
@pytest.mark.parametrize("mask", [-1e4, torch.finfo(SINGLE).min])
def test_gradients_by_q_under_a_finite_mask_equal_those_at_zero(divergence: Divergence, mask: float) -> None:
    q = torch.tensor([0.5, 0.4, 0.1])
    _, grad = gradients(divergence, torch.tensor([0.0, 0.0, mask]), q, (True, False))
    _, expected = gradients(divergence, torch.tensor([0.5, 0.5, 0.0]), q, WEIGHTS)
    assert grad.isfinite().all()
    if divergence.bound < inf:  # the gradients of the others grow without limit
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


@every_divergence
@pytest.mark.parametrize(("p", "q"), [([0.0, -744.5], [0.0, -1000.0]), ([0.0, -744.0], [0.0, -1e30])])
def test_gradients_are_finite_where_the_value_is(divergence: Divergence, p: list[float], q: list[float]) -> None:
    for grad in gradients(divergence, torch.tensor(p), torch.tensor(q), LOGITS):
        assert grad.isfinite().all()
