"""Derivatives in forward mode, against the textbook and finite differences."""

import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from tests.support.divergences import (
    Divergence,
    every_divergence,
)
from tests.support.textbook import (
    SIDES,
    Case,
    Function,
    V,
    W,
    assert_close,
    every_case,
    every_scale,
    gradients,
    hessian_product,
    leaves,
)


def dual_value(function: Function, case: Case, sides: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    """The value and its tangent, where tangents are on the given sides."""
    with forward_ad.dual_level():
        rows = (
            forward_ad.make_dual(x, v) if has_tangent else x
            for x, v, has_tangent in zip(case.rows(), (V, W), sides, strict=True)
        )
        value, tangent = forward_ad.unpack_dual(function(*rows))
        return value, torch.zeros_like(value) if tangent is None else tangent


@every_divergence
@every_case
def test_dual_tensors_give_the_derivative_along_their_tangents(divergence: Divergence, case: Case) -> None:
    for name, sides in SIDES.items():
        found, expected = (dual_value(f, case, sides) for f in case.both(divergence))
        assert_close(found, expected, message=name)


@every_divergence
@every_scale
def test_forward_mode_agrees_with_finite_differences(divergence: Divergence, case: Case) -> None:
    assert gradcheck(
        case.ours(divergence),
        leaves(*case.rows(2, 3)),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@every_divergence
@every_scale
def test_forward_mode_over_reverse_mode_agrees_with_finite_differences(divergence: Divergence, case: Case) -> None:
    assert gradgradcheck(
        case.ours(divergence),
        leaves(*case.rows(2, 3)),
        check_fwd_over_rev=True,
        check_rev_over_rev=False,
        check_undefined_grad=False,
    )


@every_divergence
@every_case
def test_a_gradient_of_dual_tensors_has_the_hessian_times_their_tangent(divergence: Divergence, case: Case) -> None:
    function, (p, q) = case.ours(divergence), leaves(*case.rows())
    with forward_ad.dual_level():
        x, y = forward_ad.make_dual(p, V), forward_ad.make_dual(q, W)
        grads = torch.autograd.grad(function(x, y).sum(), (x, y), create_graph=True, materialize_grads=True)
        found = tuple(forward_ad.unpack_dual(grad).tangent for grad in grads)
    expected = hessian_product(case.textbook(divergence), p, q)
    assert_close(tuple(torch.zeros_like(p) if x is None else x for x in found), expected)


@every_divergence
@every_case
def test_a_tangent_has_a_gradient(divergence: Divergence, case: Case) -> None:
    def gradient(function: Function) -> tuple[Tensor, ...]:
        p, q = leaves(*case.rows())
        with forward_ad.dual_level():
            value = function(forward_ad.make_dual(p, V), forward_ad.make_dual(q, W))
            return gradients(forward_ad.unpack_dual(value).tangent.sin(), (p, q))

    found, expected = map(gradient, case.both(divergence))
    assert_close(found, expected)
