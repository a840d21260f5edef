"""Derivatives with respect to weights and temperatures, against the textbook and finite differences."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from tests.support.cases import each
from tests.support.divergences import (
    KL,
    Divergence,
    every_divergence,
)
from tests.support.textbook import (
    LOGITS,
    WEIGHTS,
    Case,
    Function,
    assert_close,
    gradients,
    leaves,
    textbook,
)

REDUCTIONS = each("reduction", ["mean", "sum", "batchmean", "none"])


@every_divergence
@REDUCTIONS
def test_weights_have_the_gradients_of_the_textbook(divergence: Divergence, reduction: str) -> None:
    case = Case(True, {"reduction": reduction, "temperature": 0.7})

    def derivatives(function: Function) -> list[Tensor]:
        p, q, weights = inputs = leaves(*case.rows(), WEIGHTS + 0.25)
        grads = gradients(function(p, q, weights=weights), inputs, create_graph=True)
        return [*grads, *gradients(torch.stack([x.square().sum() for x in grads]), inputs)]

    found, expected = map(derivatives, case.both(divergence))
    assert_close(found, expected)


@every_divergence
@REDUCTIONS
def test_a_weight_of_zero_has_a_gradient_of_zero(divergence: Divergence, reduction: str) -> None:
    p, q = LOGITS.rows()
    p[1] = math.nan
    (weights,) = leaves(WEIGHTS)
    value = divergence.function(p, q, True, reduction, weights=weights, **divergence.parameter)
    (grad,) = gradients(value, [weights])
    assert grad[1] == 0
    assert grad.isfinite().all()


@every_divergence
@each("shape", [(1,), (3, 1), ()])
def test_weights_that_are_broadcast_have_gradients_of_their_own_shape(
    divergence: Divergence, shape: tuple[int, ...]
) -> None:
    case = Case(True, {"reduction": "sum"})
    found, expected = (
        gradients(f(*case.rows(3, 2, 4), weights=weights), [weights])
        for f in case.both(divergence)
        for weights in leaves(torch.full(shape, 0.5, dtype=torch.float64))
    )
    assert_close(found, expected)


@every_divergence
@REDUCTIONS
def test_a_temperature_has_the_derivatives_of_the_textbook(divergence: Divergence, reduction: str) -> None:
    case = Case(True, {"reduction": reduction, "weights": WEIGHTS})

    def derivatives(function: Function) -> list[Tensor]:
        p, q, temperature = inputs = leaves(*case.rows(), torch.tensor(0.7, dtype=torch.float64))
        grads = gradients(function(p, q, temperature=temperature), inputs, create_graph=True)
        return [*grads, *gradients(torch.stack([x.square().sum() for x in grads]), inputs)]

    found, expected = map(derivatives, case.both(divergence))
    assert_close(found, expected)


def test_learned_weights_and_rows_train_together() -> None:
    inputs = leaves(*LOGITS.rows(), WEIGHTS)

    def loss(p: Tensor, q: Tensor, raw: Tensor) -> Tensor:
        return KL.function(p, q, True, weights=raw.softmax(-1))

    assert gradcheck(loss, inputs, check_forward_ad=True)
    assert gradgradcheck(loss, inputs, check_fwd_over_rev=True)
    p, q, raw = inputs
    assert_close(loss(p, q, raw), textbook(KL, p, q, weights=raw.softmax(-1)))


@pytest.mark.parametrize("bad", [-math.inf, math.nan], ids=["masked classes", "an ignored row"])
def test_a_learned_temperature_ignores_logits_that_are_not_finite(bad: float) -> None:
    p, q = LOGITS.rows()
    weights = torch.ones(len(p), dtype=torch.float64)
    if bad == -math.inf:
        p[:, 0] = q[:, 0] = bad
    else:
        p[1], weights[1] = bad, 0.0

    def value(temperature: Any) -> Tensor:
        return KL.function(p, q, True, temperature=temperature, weights=weights)

    temperature = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert value(temperature) == value(2.0)  # the bits of a number
    assert torch.autograd.gradcheck(value, (temperature,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(value, (temperature,))


@pytest.mark.parametrize("number", [-2.0, 0.0, math.nan])
def test_a_learned_temperature_out_of_range_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        KL.function(*LOGITS.rows(), True, temperature=torch.tensor(number, requires_grad=True))
