"""Values that are known in closed form: of products, and of Bernoulli and geometric distributions."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.support.definitions import near
from tests.support.divergences import (
    CHI_SQUARED,
    CROSS_ENTROPY,
    ENTROPY,
    JEFFREYS,
    KL,
    REVERSE_KL,
    SQUARED_HELLINGER,
    TOTAL_VARIATION,
    Member,
    alpha,
    renyi,
)

Rows = tuple[Tensor, Tensor]


def same(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=1e-12, abs_tol=1e-15)


ADDED = [KL, REVERSE_KL, JEFFREYS, ENTROPY, CROSS_ENTROPY, *map(renyi, (0.3, 0.5, 2, 3))]
# 1 plus this many times the value is a sum of p**a q**(1 - a)
MULTIPLIED = [(SQUARED_HELLINGER, -1.0), (CHI_SQUARED, 1.0), (alpha(0.3), -0.21), (alpha(-0.5), 0.75), (alpha(3), 6.0)]


def products(noise: float, seed: int) -> tuple[Rows, Rows, Rows]:
    """Two pairs of rows, and that of the joint distributions of two independent variables."""
    one, other = (near(n, 2.0, noise, torch.float64, seed) for n in (6, 5))
    p, q = ((x[:, None] + y).flatten() for x, y in zip(one, other, strict=True))
    return one, other, (p, q)


@pytest.mark.parametrize("member", ADDED, ids=str)
@pytest.mark.parametrize("noise", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_logarithms_add_up_over_independent_variables(member: Member, noise: float, seed: int) -> None:
    one, other, both = products(noise, seed)
    assert same(member.value(*both), member.value(*one) + member.value(*other))


@pytest.mark.parametrize(("member", "scale"), MULTIPLIED, ids=str)
@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_sums_of_powers_multiply_over_independent_variables(
    member: Member, scale: float, noise: float, seed: int
) -> None:
    one, other, both = (1 + scale * member.value(*rows) for rows in products(noise, seed))
    assert same(both, one * other)


def power_sum_of_bernoulli(a: float, b: float, order: float) -> float:
    return a**order * b ** (1 - order) + (1 - a) ** order * (1 - b) ** (1 - order)


def power_sum_of_geometric(a: float, b: float, order: float) -> float:
    """Sum over k of ((1 - a) a^k)^order ((1 - b) b^k)^(1 - order)."""
    return (1 - a) ** order * (1 - b) ** (1 - order) / (1 - a**order * b ** (1 - order))


def geometric(a: float) -> Tensor:
    return torch.arange(4000, dtype=torch.float64) * math.log(a)


FAMILIES: dict[str, tuple[Callable[[float], Tensor], Callable[[float, float, float], float]]] = {
    "Bernoulli": (lambda a: torch.tensor([a, 1 - a], dtype=torch.float64).log(), power_sum_of_bernoulli),
    "geometric": (geometric, power_sum_of_geometric),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", [-0.5, 0.3, 0.5, 2, 3])
@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.5, 0.6), (0.2, 0.3)])
def test_sums_of_powers_agree_with_the_closed_form(family: str, order: float, a: float, b: float) -> None:
    row, power_sum = FAMILIES[family]
    rows, powers = (row(a), row(b)), power_sum(a, b, order)
    assert same(alpha(order).value(*rows), (powers - 1) / (order * (order - 1)))
    if order > 0:
        assert same(renyi(order).value(*rows), math.log(powers) / (order - 1))
    if order == 2:
        assert same(CHI_SQUARED.value(*rows), powers - 1)
    if order == 0.5:
        assert same(SQUARED_HELLINGER.value(*rows), 1 - powers)


@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.9, 0.2), (0.999, 0.5)])
def test_two_bernoulli_distributions_agree_with_their_closed_forms(a: float, b: float) -> None:
    rows = FAMILIES["Bernoulli"][0](a), FAMILIES["Bernoulli"][0](b)
    kl = a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))
    h = -a * math.log(a) - (1 - a) * math.log(1 - a)
    assert same(KL.value(*rows), kl)
    assert same(JEFFREYS.value(*rows), (a - b) * (math.log(a / (1 - a)) - math.log(b / (1 - b))))
    assert same(TOTAL_VARIATION.value(*rows), abs(a - b))
    assert same(CHI_SQUARED.value(*rows), (a - b) ** 2 / (b * (1 - b)))
    assert same(ENTROPY.value(*rows), h)
    assert same(CROSS_ENTROPY.value(*rows), h + kl)


@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.7, 0.55), (0.9, 0.2)])
def test_two_geometric_distributions_agree_with_their_closed_forms(a: float, b: float) -> None:
    rows, mean = (geometric(a), geometric(b)), a / (1 - a)
    h = -math.log(1 - a) - mean * math.log(a)
    assert same(KL.value(*rows), math.log((1 - a) / (1 - b)) + mean * math.log(a / b))
    assert same(JEFFREYS.value(*rows), (mean - b / (1 - b)) * math.log(a / b))
    assert same(ENTROPY.value(*rows), h)
    assert same(CROSS_ENTROPY.value(*rows), -math.log(1 - b) - mean * math.log(b))
