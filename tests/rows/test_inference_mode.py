"""Teachers and weights that were made in inference mode, and values in it."""

import pytest
import torch
from torch import Tensor

from tests.support.divergences import (
    DIVERGENCES,
    ENTROPY,
    KL,
    Divergence,
    every_divergence,
)
from tests.support.textbook import (
    LOGITS,
    Case,
    assert_equal,
    every_case,
    gradients,
    leaves,
)


def inference_copy(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


@pytest.mark.parametrize("divergence", [x for x in DIVERGENCES if x != ENTROPY], ids=str)
@every_case
def test_a_teacher_of_inference_mode_gives_the_gradients_of_a_plain_one(divergence: Divergence, case: Case) -> None:
    p, q = case.rows()

    def derivatives(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (x,) = leaves(q)
        value = case.ours(divergence)(p, x)
        (grad,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        return value.detach(), grad.detach(), gradients(grad.square(), [x])[0]

    teacher = inference_copy(p)
    assert teacher.is_inference()
    assert_equal(derivatives(teacher), derivatives(p))


@every_divergence
def test_a_student_may_be_p_and_its_teacher_of_inference_mode_q(divergence: Divergence) -> None:
    p, q = LOGITS.rows()
    (x,) = leaves(p)
    found, expected = (gradients(LOGITS.ours(divergence)(x, teacher), [x]) for teacher in (inference_copy(q), q))
    assert_equal(found, expected)


@every_divergence
def test_in_inference_mode_values_are_those_outside_of_it(divergence: Divergence) -> None:
    p, q = LOGITS.rows()
    with torch.inference_mode():
        value = LOGITS.ours(divergence)(p.clone(), q.clone())
    assert value.is_inference()
    assert_equal(value.clone(), LOGITS.ours(divergence)(p, q))


def test_weights_from_inference_mode_serve_sides_that_need_gradients() -> None:
    p, q = LOGITS.rows()
    with torch.inference_mode():
        weights = torch.rand(len(p), dtype=torch.float64)
    q.requires_grad_()
    KL.function(p, q, True, weights=weights).backward()
    (expected,) = torch.autograd.grad(KL.function(p, q, True, weights=weights.clone()), q)
    assert_equal(q.grad, expected)
