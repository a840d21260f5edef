"""The transforms of ``torch.func``, in every order, against the textbook and against loops."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from tests.support.cases import each
from tests.support.divergences import KL, Divergence, every_divergence
from tests.support.textbook import (
    CASES,
    LOGITS,
    PROBABILITIES,
    WEIGHTS,
    Case,
    Function,
    assert_close,
    assert_equal,
    every_case,
    every_scale,
    leaves,
    normal,
)

V, W = normal(3, 4, seed=3)  # directions
REDUCTIONS = ("none", "mean", "sum", "batchmean")

# vmap

IN_DIMS: list[tuple[int | None, ...]] = [(0, 0), (1, 1), (2, 0), (-1, 1), (0, None), (None, -2)]


def assert_vmap_is_a_loop(function: Function, tensors: Sequence[Tensor], in_dims: tuple[int | None, ...]) -> None:
    """For tensors whose first dimension is to be mapped over; of others the first element is taken."""
    mapped = [x[0] if dim is None else x.movedim(0, dim) for x, dim in zip(tensors, in_dims, strict=True)]
    size = len(tensors[0])
    each = ([x[0 if dim is None else i] for x, dim in zip(tensors, in_dims, strict=True)] for i in range(size))
    expected = torch.stack([function(*arguments) for arguments in each])
    assert_equal(vmap(function, in_dims)(*mapped), expected, message=str(in_dims))


@every_divergence
@every_case
def test_vmap_has_the_bits_of_a_loop(divergence: Divergence, case: Case) -> None:
    for in_dims in IN_DIMS:
        assert_vmap_is_a_loop(case.ours(divergence), case.rows(2, 3, 4), in_dims)


@every_divergence
@every_scale
def test_vmap_may_be_nested_and_move_its_output(divergence: Divergence, case: Case) -> None:
    function, (p, q) = case.ours(divergence), case.rows(2, 3, 4)
    assert_equal(vmap(vmap(function))(p, q), function(p, q))
    assert_equal(vmap(function, in_dims=1, out_dims=1)(p, q), function(p, q))
    each_with_each = torch.stack([torch.stack([function(x, y) for y in q]) for x in p])
    assert_equal(vmap(vmap(function, (None, 0)), (0, None))(p, q), each_with_each)


@every_divergence
@each("reduction", REDUCTIONS)
def test_vmap_over_weights_has_the_bits_of_a_loop(divergence: Divergence, reduction: str) -> None:
    case = Case(True, {"reduction": reduction})

    def value(p: Tensor, q: Tensor, weights: Tensor) -> Tensor:
        return case.ours(divergence)(p, q, weights=weights)

    tensors = [*case.rows(2, 3, 4), torch.stack([WEIGHTS, WEIGHTS + 1 / 3])]
    for in_dims in [(0, 0, 0), (None, None, 0), (0, None, 1), (0, 0, None)]:
        assert_vmap_is_a_loop(value, tensors, in_dims)


@every_divergence
def test_vmap_with_the_classes_in_another_dimension_has_the_bits_of_a_loop(divergence: Divergence) -> None:
    p, q = LOGITS.rows(2, 4, 3)
    found = vmap(lambda x, y: divergence.rows(x, y, dim=0))(p, q)
    assert_equal(found, divergence.rows(p, q, dim=1))


# Derivatives, in any order

Transform = Callable[[Callable[..., Tensor], Tensor, Tensor], Any]


def scalar(function: Function) -> Function:
    return lambda p, q: function(p, q).sin().sum()


def along(function: Function) -> Function:
    """The derivative along the directions."""
    return lambda p, q: jvp(function, (p, q), (V, W))[1]


def squared_gradient(function: Function) -> Function:
    return lambda p, q: sum(x.square().sum() for x in grad(scalar(function), (0, 1))(p, q))


DERIVATIVES: dict[str, Transform] = {
    "grad": lambda f, p, q: grad(scalar(f), (0, 1))(p, q),
    "vjp": lambda f, p, q: vjp(scalar(f), p, q)[1](torch.tensor(2.0, dtype=torch.float64)),
    "jvp": lambda f, p, q: jvp(f, (p, q), (V, W)),
    "jvp of p": lambda f, p, q: jvp(lambda x: f(x, q), (p,), (V,)),
    "jvp of q": lambda f, p, q: jvp(lambda x: f(p, x), (q,), (W,)),
    "jacrev": lambda f, p, q: jacrev(f, (0, 1))(p, q),
    "jacfwd": lambda f, p, q: jacfwd(f, (0, 1))(p, q),
    "jvp of jvp": lambda f, p, q: along(along(f))(p, q),
    "jvp of grad": lambda f, p, q: along(grad(scalar(f)))(p, q),
    "grad of jvp": lambda f, p, q: grad(scalar(along(f)), (0, 1))(p, q),
    "grad of grad": lambda f, p, q: grad(squared_gradient(f), (0, 1))(p, q),
    "vjp of grad": lambda f, p, q: vjp(grad(scalar(f)), p, q)[1](V),
    "jvp of grad of grad": lambda f, p, q: along(grad(squared_gradient(f)))(p, q),
}


@every_divergence
@each("name", ["logits", "probabilities", "weighted mean at a temperature"])
def test_derivatives_are_those_of_the_textbook(divergence: Divergence, name: str) -> None:
    case = CASES[name]
    for transform, apply in DERIVATIVES.items():
        found, expected = (apply(f, *case.rows()) for f in case.both(divergence))
        assert_close(found, expected, 1e-8, message=transform)


HESSIANS: dict[str, Callable[..., Any]] = {
    "hessian": hessian,
    "jacrev of jacrev": lambda f, argnums: jacrev(jacrev(f, argnums), argnums),
    "jacrev of jacfwd": lambda f, argnums: jacrev(jacfwd(f, argnums), argnums),
    "jacfwd of jacfwd": lambda f, argnums: jacfwd(jacfwd(f, argnums), argnums),
}


@every_divergence
@every_scale
def test_hessians_are_those_of_the_textbook(divergence: Divergence, case: Case) -> None:
    rows = case.rows(1, 3)
    expected = hessian(scalar(case.textbook(divergence)), (0, 1))(*rows)
    for name, of in HESSIANS.items():
        assert_close(of(scalar(case.ours(divergence)), (0, 1))(*rows), expected, message=name)


@every_divergence
@each("reduction", REDUCTIONS)
def test_weights_have_the_derivatives_of_the_textbook(divergence: Divergence, reduction: str) -> None:
    case = Case(True, {"reduction": reduction})
    inputs = (*case.rows(), WEIGHTS + 0.25)

    def derivatives(function: Function) -> Any:
        def value(p: Tensor, q: Tensor, weights: Tensor) -> Tensor:
            return function(p, q, weights=weights).sum()

        return (
            grad(value, (0, 1, 2))(*inputs),
            jvp(value, inputs, (V, W, WEIGHTS))[1],
            jvp(grad(value, 2), inputs, (V, W, WEIGHTS))[1],
        )

    found, expected = map(derivatives, case.both(divergence))
    assert_close(found, expected)


# Gradients of each sample


@every_divergence
@every_case
def test_the_gradients_of_each_sample_are_those_of_a_loop(divergence: Divergence, case: Case) -> None:
    function, (p, q) = case.ours(divergence), case.rows(2, 3, 4)
    bias = torch.full((4,), 0.1, dtype=torch.float64)

    def loss(bias: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return function(p + bias, q).sum()

    def by_autograd(p: Tensor, q: Tensor) -> Tensor:
        (x,) = leaves(bias)
        return torch.autograd.grad(loss(x, p, q), x)[0]

    expected = torch.stack([by_autograd(x, y) for x, y in zip(p, q, strict=True)])
    assert_close(vmap(grad(loss), (None, 0, 0))(bias, p, q), expected, 1e-14)
    expected = torch.stack([by_autograd(x, q[0]) for x in p])
    assert_close(vmap(grad(loss), (None, 0, None))(bias, p, q[0]), expected, 1e-14)


@every_divergence
@each("reduction", REDUCTIONS)
def test_the_gradients_of_each_sample_with_weights_of_its_own_are_those_of_a_loop(
    divergence: Divergence, reduction: str
) -> None:
    case = Case(True, {"reduction": reduction})
    p, q = case.rows(2, 3, 4)
    weights = torch.stack([WEIGHTS, WEIGHTS + 1 / 3])

    def loss(p: Tensor, q: Tensor, weights: Tensor) -> Tensor:
        return case.ours(divergence)(p, q, weights=weights).sum()

    def by_autograd(*inputs: Tensor) -> tuple[Tensor, ...]:
        variables = leaves(*inputs)
        return torch.autograd.grad(loss(*variables), variables, materialize_grads=True)

    expected = zip(*(by_autograd(*sample) for sample in zip(p, q, weights, strict=True)), strict=True)
    found = vmap(grad(loss, (0, 1, 2)))(p, q, weights)
    assert_close(found, tuple(torch.stack(x) for x in expected), 1e-14)


@every_divergence
@every_scale
def test_the_hessians_of_each_sample_are_those_of_a_loop(divergence: Divergence, case: Case) -> None:
    p, q = case.rows(2, 2, 3)
    found = vmap(hessian(scalar(case.ours(divergence))))(p, q)
    expected = [hessian(scalar(case.ours(divergence)))(x, y) for x, y in zip(p, q, strict=True)]
    assert_close(found, torch.stack(expected), 1e-12)


@every_divergence
@every_scale
def test_a_gradient_passes_through_vmap(divergence: Divergence, case: Case) -> None:
    function, (p, q) = case.ours(divergence), case.rows(2, 3, 4)
    assert_equal(
        grad(lambda x: vmap(function)(x, q).square().sum())(p), grad(lambda x: function(x, q).square().sum())(p)
    )
    x, y = leaves(p, p)
    vmap(function)(x, q).sum().backward()
    function(y, q).sum().backward()
    assert_equal(x.grad, y.grad)


def test_an_ensemble_of_models_is_distilled_at_once() -> None:
    """As in torch's tutorial on ensembles."""
    models = [torch.nn.Linear(4, 5, dtype=torch.float64) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    inputs, _ = normal(6, 4, seed=1)
    teacher = normal(6, 5, seed=2)[0]

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return KL.function(teacher, functional_call(models[0], parameters, (inputs,)), True)

    found = vmap(grad(loss))(parameters)
    for i, model in enumerate(models):
        KL.function(teacher, model(inputs), True).backward()
        for name, parameter in model.named_parameters():
            assert_close(found[name][i], parameter.grad, 1e-14)


def test_masked_rows_have_the_same_gradients_and_hessians_as_without_transforms() -> None:
    p, q = LOGITS.rows()
    p[0, 1] = q[0, 1] = q[2, 0] = -torch.inf
    variables = leaves(p, q)
    by_autograd = torch.autograd.grad(LOGITS.ours(KL)(*variables).sum(), variables, create_graph=True)
    product = torch.autograd.grad(by_autograd[1], variables[1], W)[0]
    gradient = grad(lambda x: LOGITS.ours(KL)(p, x).sum())
    assert_equal(gradient(q), by_autograd[1].detach())
    assert_close(jvp(gradient, (q,), (W,))[1], product, 1e-12)


@every_divergence
def test_zero_probabilities_have_finite_derivatives_under_transforms(divergence: Divergence) -> None:
    p, q = PROBABILITIES.rows()
    p[0, 1] = q[1, 0] = p[2, 2] = q[2, 2] = 0.0
    function = PROBABILITIES.ours(divergence)
    assert grad(lambda x: function(x, q).sum())(p).isfinite().all()
    assert jvp(grad(scalar(function)), (p, q), (V, W))[1].isfinite().all()
    assert hessian(lambda x: function(p, x).sum())(q).isfinite().all()
