"""Derivatives of derivatives, against the textbook and finite differences."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import functional, gradgradcheck

from tests.support.cases import each
from tests.support.divergences import (
    CHI_SQUARED,
    DIVERGENCES,
    TOTAL_VARIATION,
    Divergence,
    alpha,
    every_divergence,
    renyi,
)
from tests.support.textbook import (
    LOGITS,
    PROBABILITIES,
    SIDES,
    WEIGHTS,
    Case,
    Function,
    V,
    W,
    assert_close,
    assert_equal,
    every_case,
    every_scale,
    gradients,
    hessian_product,
    leaves,
)

inf = math.inf


sides = each("sides", SIDES.values())


def derivative_of_gradients(function: Function, p: Tensor, q: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a number that is made of gradients in a nonlinear way."""
    p, q = leaves(p, q)
    value = function(p, q)
    grads = gradients(value * torch.arange(1.0, 1.0 + value.numel()).view_as(value), (p, q), create_graph=True)
    return gradients(torch.stack([(x.square() + x.sin()).sum() for x in grads]), (p, q))


@every_divergence
@every_case
def test_second_derivatives_are_those_of_the_textbook(divergence: Divergence, case: Case) -> None:
    found, expected = (derivative_of_gradients(f, *case.rows()) for f in case.both(divergence))
    assert_close(found, expected)


@every_divergence
@every_scale
def test_second_derivatives_agree_with_finite_differences(divergence: Divergence, case: Case) -> None:
    assert gradgradcheck(case.ours(divergence), leaves(*case.rows(2, 3)))


@every_divergence
@every_scale
def test_third_derivatives_are_those_of_the_textbook(divergence: Divergence, case: Case) -> None:
    def third(function: Function) -> tuple[Tensor, ...]:
        p, q = leaves(*case.rows())
        first = gradients(function(p, q), (p, q), create_graph=True)
        second = gradients(torch.stack([x.square().sum() for x in first]), (p, q), create_graph=True)
        return gradients(torch.stack([x.square().sum() for x in second]), (p, q))

    found, expected = map(third, case.both(divergence))
    assert_close(found, expected, 1e-7)


@every_divergence
@every_case
def test_a_penalty_on_the_gradient_of_the_input_trains_a_layer(divergence: Divergence, case: Case) -> None:
    inputs, target = case.rows()
    layer = torch.eye(4, dtype=torch.float64) + 0.1

    def gradient(function: Function) -> tuple[Tensor, ...]:
        x, weight = leaves(inputs, layer)
        value = function(x @ weight, target)
        (grad,) = gradients(value, [x], create_graph=True)
        return gradients(value.sum() + grad.square().sum(), [weight])

    found, expected = map(gradient, case.both(divergence))
    assert_close(found, expected)


FUNCTIONAL: dict[str, Callable[..., Any]] = {
    "hvp": lambda f, inputs, v: functional.hvp(f, inputs, v),
    "vhp": lambda f, inputs, v: functional.vhp(f, inputs, v),
    "hessian": lambda f, inputs, v: functional.hessian(f, inputs)[0],  # noqa: ARG005
    "jvp": lambda f, inputs, v: functional.jvp(f, inputs, v),
    "vjp": lambda f, inputs, v: functional.vjp(f, inputs),  # noqa: ARG005
}


@every_divergence
@every_scale
def test_the_functions_of_torch_autograd_functional_work(divergence: Divergence, case: Case) -> None:
    for name, of in FUNCTIONAL.items():
        found, expected = (
            of(lambda p, q, f=f: f(p, q, weights=WEIGHTS).sum(), case.rows(), (V, W)) for f in case.both(divergence)
        )
        assert_close(found, expected, message=name)


@every_divergence
def test_float32_rows_have_second_derivatives_in_float32(divergence: Divergence) -> None:
    p, q = LOGITS.rows(dtype=torch.float32)
    found = hessian_product(LOGITS.ours(divergence), p, q, V.float(), W.float())
    expected = hessian_product(LOGITS.textbook(divergence), p.double(), q.double(), V.float(), W.float())
    assert all(x.dtype == torch.float32 for x in found)
    torch.testing.assert_close(found, tuple(x.float() for x in expected), rtol=1e-5, atol=1e-5)


@every_divergence
@each("mask", [-inf, torch.finfo(torch.float64).min, torch.finfo(torch.float32).min, -1e4])
def test_classes_masked_on_both_sides_do_not_change_second_derivatives(divergence: Divergence, mask: float) -> None:
    function, (p, q) = LOGITS.ours(divergence), LOGITS.rows()
    found = hessian_product(
        function,
        *(torch.nn.functional.pad(x, (0, 2), value=mask) for x in (p, q)),
        *(torch.nn.functional.pad(x, (0, 2), value=1.0) for x in (V, W)),
    )
    assert_close([x[:, :4] for x in found], list(hessian_product(function, p, q)), 1e-12)
    assert all((x[:, 4:].abs() <= 1e-12).all() for x in found)


@every_divergence
@pytest.mark.parametrize("side", [0, 1], ids="pq")
def test_a_class_masked_on_one_side_counts_as_one_of_a_very_small_logit(divergence: Divergence, side: int) -> None:
    masked, small = LOGITS.rows(), LOGITS.rows()
    masked[side][0, 1], small[side][0, 1] = -inf, -200.0
    found = hessian_product(LOGITS.ours(divergence), *masked)
    expected = hessian_product(LOGITS.textbook(divergence), *small)
    if divergence.rows(*masked)[0] == inf:
        for x in expected:
            x[0] = 0.0  # an infinite row is flat
    assert_close(found, expected)


@every_divergence
@sides
@every_scale
def test_second_derivatives_are_finite_with_zeros(divergence: Divergence, sides: tuple[bool, bool], case: Case) -> None:
    rows = case.rows()
    for x, zero in zip(rows, sides, strict=True):
        if zero:
            x[0, 1] = x[1, 0] = x[1, 2] = -inf if case is LOGITS else 0.0
    found = hessian_product(case.ours(divergence), *rows)
    assert all(x.isfinite().all() for x in found)
    infinite = divergence.rows(*rows, case.log_prob) == inf
    assert not any(x[infinite].any() for x in found)


@pytest.mark.parametrize("divergence", [CHI_SQUARED, TOTAL_VARIATION, alpha(2), alpha(3), renyi(2), renyi(3)], ids=str)
def test_second_derivatives_at_a_zero_probability_of_p_are_those_of_the_textbook(divergence: Divergence) -> None:
    p, q = PROBABILITIES.rows()
    p[0, 1] = p[2, 3] = 0.0
    found, expected = (hessian_product(f, p, q) for f in PROBABILITIES.both(divergence))
    # a probability of 0 is replaced by 1e-8 of the other side's, and rounding errors are divided by it
    assert_close(found, expected, tolerance=1e-6)


@every_divergence
@every_scale
def test_rows_that_do_not_count_have_second_derivatives_of_zero(divergence: Divergence, case: Case) -> None:
    p, q = case.rows()
    p[1] = math.nan
    found = hessian_product(lambda p, q: case.ours(divergence)(p, q, weights=WEIGHTS), p, q)
    assert not any(x[1].any() for x in found)
    kept = [0, 2]
    alone = hessian_product(
        lambda p, q: case.ours(divergence)(p, q, weights=WEIGHTS[kept]), p[kept], q[kept], V[kept], W[kept]
    )
    assert_equal([x[kept] for x in found], list(alone))


CURVATURES: dict[str, Callable[..., float]] = {
    "KLDivergence": lambda: 1,
    "ReverseKLDivergence": lambda: 1,
    "JeffreysDivergence": lambda: 2,
    "JensenShannonDivergence": lambda beta: beta * (1 - beta),
    "SquaredHellingerDistance": lambda: 1 / 4,
    "ChiSquaredDivergence": lambda: 2,
    "AlphaDivergence": lambda order: 1,  # noqa: ARG005
    "RenyiDivergence": lambda order: order,
}


SMOOTH = [divergence for divergence in DIVERGENCES if divergence.name in CURVATURES]


@pytest.mark.parametrize("divergence", SMOOTH, ids=str)
def test_the_hessian_of_equal_logits_is_a_multiple_of_the_fisher_information(divergence: Divergence) -> None:
    logits, _ = LOGITS.rows()
    logits = torch.nn.functional.pad(logits, (0, 1), value=-inf)  # and one masked class
    v, w = (torch.nn.functional.pad(x, (0, 1), value=1.0) for x in (V, W))
    p = logits.softmax(-1)
    fisher = p * (v - w) - p * (p * (v - w)).sum(-1, keepdim=True)  # (diag(p) - p p^T) (v - w)
    curvature = CURVATURES[divergence.name](*divergence.parameter.values())
    found = hessian_product(LOGITS.ours(divergence), logits, logits, v, w)
    assert_close(found, (curvature * fisher, -curvature * fisher), 1e-12)


@every_divergence
@every_case
def test_second_derivatives_of_equal_rows_are_finite(divergence: Divergence, case: Case) -> None:
    p, _ = case.rows()
    is_log = case.log_prob if isinstance(case.log_prob, tuple) else (case.log_prob, case.log_prob)
    rows = (p.softmax(-1).log() if log else p.softmax(-1) for log in is_log)
    assert all(x.isfinite().all() for x in hessian_product(case.ours(divergence), *rows))


@every_divergence
@every_scale
def test_second_derivatives_of_almost_equal_rows_are_those_of_the_textbook(divergence: Divergence, case: Case) -> None:
    p, _ = case.rows()
    q = p * (1 + 1e-4 * W)
    found, expected = (hessian_product(f, p, q) for f in case.both(divergence))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # what the textbook cancels
