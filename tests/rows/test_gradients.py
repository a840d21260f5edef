"""Gradients, against finite differences, autograd and closed forms, and where p or q is zero."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.cases import each
from tests.support.divergences import DIVERGENCES, ENTROPY, KL, Divergence, every_divergence, renyi
from tests.support.helpers import Reduction
from tests.support.textbook import textbook_rows
from torchdivergence import KLDivergence
from torchdivergence.functional import kl_divergence

inf = math.inf


def gradients(function: Callable[[Tensor, Tensor], Tensor], p: Tensor, q: Tensor) -> list[Tensor]:
    p, q = p.detach().clone().requires_grad_(), q.detach().clone().requires_grad_()
    function(p, q).sum().backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in (p, q)]


def random(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).unbind()
    return x, y


SCALES = {"logits": (True, True), "probabilities": (False, False), "p only": (False, True), "q only": (True, False)}
scales = each("log_prob", SCALES.values())


def on_scale(rows: tuple[Tensor, Tensor], log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    p, q = (x if is_log else x.exp() for x, is_log in zip(rows, log_prob, strict=True))
    return p, q


@every_divergence
@scales
def test_gradients_agree_with_finite_differences(divergence: Divergence, log_prob: tuple[bool, bool]) -> None:
    x, y = on_scale(random(4, 5), log_prob)

    def value(x: Tensor, y: Tensor) -> Tensor:
        return divergence.rows(x, y, log_prob)

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


@every_divergence
@pytest.mark.parametrize(
    "settings", [{"temperature": 2.0}, {"dim": 0}, {"weights": torch.tensor([0.5, 0.0, 2.0])}], ids=str
)
def test_gradients_respect_temperature_dim_and_weights(divergence: Divergence, settings: dict[str, Any]) -> None:
    x, y = random(3, 3)

    def value(x: Tensor, y: Tensor) -> Tensor:
        return divergence.rows(x, y, True, **settings)

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


@every_divergence
@scales
@each("noise", [0.03, 1.0])
def test_gradients_agree_with_autograd_through_the_formula(
    divergence: Divergence, log_prob: tuple[bool, bool], noise: float
) -> None:
    x, y = random(8, 300)
    p, q = on_scale((x, x + noise * y), log_prob)
    found = gradients(lambda p, q: divergence.rows(p, q, log_prob), p, q)
    expected = gradients(lambda p, q: textbook_rows(divergence, p, q, log_prob), p, q)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


CONVERSIONS: dict[str, tuple[bool | tuple[bool, bool], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "logits": (True, lambda x: x, lambda x: x),
    "probabilities": (False, torch.exp, torch.exp),
    "mixed": ((False, True), torch.exp, lambda x: x),
}


@pytest.mark.parametrize("scale", CONVERSIONS)
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
def test_gradients_respect_reduction_and_base(scale: str, reduction: Reduction) -> None:
    log_prob, convert_p, convert_q = CONVERSIONS[scale]
    x, y = torch.randn(2, 2, 5, 3, dtype=torch.float64).unbind()
    weights = torch.rand(2, 3)

    def value(x: Tensor, y: Tensor) -> Tensor:
        return kl_divergence(convert_p(x), convert_q(y), log_prob, reduction, dim=1, base=2, weights=weights)

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_have_the_dtype_of_their_input(divergence: Divergence, dtype: torch.dtype) -> None:
    p, q = (x.to(dtype) for x in random(8, 30))
    found = gradients(divergence.rows, p, q)
    expected = gradients(lambda p, q: textbook_rows(divergence, p, q, (True, True)), p.double(), q.double())
    torch.testing.assert_close(found, [x.to(dtype) for x in expected])


ZEROS = {
    "p": ([0.0, 0.5, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
    "q": ([0.25, 0.25, 0.25, 0.25], [0.0, 0.5, 0.25, 0.25]),
    "both in one class": ([0.0, 0.5, 0.25, 0.25], [0.0, 0.25, 0.5, 0.25]),
    "both in several": ([0.0, 0.0, 0.5, 0.5], [0.75, 0.0, 0.25, 0.0]),
    "disjoint": ([0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75]),
    "equal": ([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]),
}


@every_divergence
@scales
@each("zeros", ZEROS)
@each("dtype", [torch.float64, torch.float32])
def test_gradients_at_zeros_are_finite_and_zero_if_the_row_is_infinite(
    divergence: Divergence, log_prob: tuple[bool, bool], zeros: str, dtype: torch.dtype
) -> None:
    p, q = (torch.tensor(x, dtype=dtype) for x in ZEROS[zeros])
    p, q = (x.log() if is_log else x for x, is_log in zip((p, q), log_prob, strict=True))
    grads = gradients(lambda p, q: divergence.rows(p, q, log_prob), p, q)
    assert all(grad.isfinite().all() for grad in grads)
    if divergence.value(p, q, log_prob) == inf:
        assert not any(grad.any() for grad in grads)
    for x, is_log, grad in zip((p, q), log_prob, grads, strict=True):
        if is_log:
            assert (grad[x == -inf].abs() <= 1e-100).all()  # the square root of the smallest probability


def test_gradients_of_kl_divergence_at_zeros_have_their_closed_form() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    q = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    grad_p, grad_q = gradients(lambda p, q: kl_divergence(p, q, reduction="none"), p, q)
    assert grad_p.isfinite().all() and grad_q.isfinite().all()
    torch.testing.assert_close(grad_q[0], torch.tensor([1 - 0.5 / 0.2, 1 - 0.5 / 0.3, 1.0]))
    assert not grad_p[2].any() and not grad_q[2].any()  # an infinite row


def test_gradients_of_masked_logits_are_exactly_zero_at_the_mask() -> None:
    mask = torch.tensor([[0.0, 0.0, -inf, 0.0], [-inf, 0.0, 0.0, -inf]])
    x, y = torch.randn(2, 2, 4)
    for grad in gradients(lambda x, y: KL.rows(x + mask, y + mask), x, y):
        assert grad.isfinite().all()
        assert not grad[mask == -inf].any()


AT_ZERO = torch.tensor([0.0, 0.5, 0.3, 0.2], dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
FINITE_AT_ZERO = [
    (divergence, side)
    for divergence in DIVERGENCES
    for side, rows in enumerate((AT_ZERO, (AT_ZERO[1], AT_ZERO[0])))
    if divergence != ENTROPY and divergence.value(*rows, False) < inf
]


@pytest.mark.parametrize(("divergence", "side"), FINITE_AT_ZERO, ids=str)
def test_a_gradient_at_zero_equals_that_at_a_ratio_of_exp_60(divergence: Divergence, side: int) -> None:
    at_zero = (AT_ZERO[1], AT_ZERO[0]) if side else AT_ZERO
    close = [x.clone() for x in at_zero]
    close[side][0] = 0.25 * math.exp(-60)
    found = gradients(lambda p, q: divergence.rows(p, q, False), *at_zero)
    expected = gradients(lambda p, q: textbook_rows(divergence, p, q, (False, False)), *close)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)


def test_the_gradient_of_entropy_at_zero_equals_that_at_a_ratio_of_exp_minus_60() -> None:
    grad, _ = gradients(lambda p, q: ENTROPY.rows(p, q, False), *AT_ZERO)
    minus_log_p = 60 - math.log(AT_ZERO[1][0])
    assert grad[0].item() == pytest.approx(minus_log_p - ENTROPY.value(*AT_ZERO, False), rel=1e-12)


@every_divergence
def test_gradients_of_rows_of_weight_zero_and_of_infinite_rows_are_zero(divergence: Divergence) -> None:
    p, q = (x.exp() for x in random(3, 4))
    p[0] = math.nan
    p[1], q[1] = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    weights = torch.tensor([0.0, 1.0, 1.0])
    grads = gradients(lambda p, q: divergence.rows(p, q, False, weights=weights), p, q)
    assert not any(grad[0].any() for grad in grads)
    if divergence.rows(p, q, False)[1] == inf:
        assert not any(grad[1].any() for grad in grads)
    alone = gradients(lambda p, q: divergence.rows(p, q, False), p[2:], q[2:])
    assert all(torch.equal(grad[2:], x) for grad, x in zip(grads, alone, strict=True))


def renyi_by_logsumexp(p: Tensor, q: Tensor, order: float) -> Tensor:
    powers = order * p.log_softmax(-1) + (1 - order) * q.log_softmax(-1)
    return powers.logsumexp(-1) / (order - 1)


@pytest.mark.parametrize("order", [0.3, 0.5, 2, 3])
@each("gap", [10.0, 100.0, 500.0, 1000.0, 3000.0])
@each("rows", [([0, -1], [-1, 0]), ([0, -1], [0, -3]), ([0, 0], [0, -1]), ([0, -0.3], [0, -1])])
def test_gradients_of_renyi_divergence_of_almost_disjoint_rows_are_accurate(
    order: float, gap: float, rows: tuple[list[float], list[float]]
) -> None:
    p, q = (torch.tensor([*row, -0.01], dtype=torch.float64) * gap for row in rows)
    found = gradients(renyi(order).rows, p, q)
    expected = gradients(lambda p, q: renyi_by_logsumexp(p, q, order), p, q)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@every_divergence
@each("gap", [100.0, 700.0, 1000.0, 3000.0])
@each("rows", [([0, -1], [-1, 0]), ([0, -1], [0, -3]), ([0, 0], [0, -1]), ([0, -0.3], [0, -1])])
def test_gradients_of_logits_with_large_gaps_are_finite(
    divergence: Divergence, gap: float, rows: tuple[list[float], list[float]]
) -> None:
    p, q = (torch.tensor(row, dtype=torch.float64) * gap for row in rows)
    assert all(grad.isfinite().all() for grad in gradients(divergence.rows, p, q))


def test_without_gradients_there_is_no_graph() -> None:
    p, q = (x.requires_grad_() for x in torch.randn(2, 4, 6, 9).unbind())
    with torch.no_grad():
        assert kl_divergence(p, q, True).grad_fn is None
    metric = KLDivergence(log_prob=True)
    metric.update(p, q)
    assert metric.compute().grad_fn is None
    assert metric(p, q).grad_fn is None
