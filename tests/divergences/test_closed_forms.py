"""Closed forms: of product, Bernoulli and geometric distributions."""

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
    Divergence,
    alpha,
    renyi,
)

Rows = tuple[Tensor, Tensor]


def close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=1e-12, abs_tol=1e-15)


ADDITIVE = [KL, REVERSE_KL, JEFFREYS, ENTROPY, CROSS_ENTROPY, *map(renyi, (0.3, 0.5, 2, 3))]
# 1 plus the factor times the value is the sum of p**a q**(1 - a)
MULTIPLICATIVE = [
    (SQUARED_HELLINGER, -1.0),
    (CHI_SQUARED, 1.0),
    (alpha(0.3), -0.21),
    (alpha(-0.5), 0.75),
    (alpha(3), 6.0),
]


def products(noise: float, seed: int) -> tuple[Rows, Rows, Rows]:
    """Two pairs of rows, and the pair of their product distributions."""
    one, other = (near(n, 2.0, noise, torch.float64, seed) for n in (6, 5))
    p, q = ((x[:, None] + y).flatten() for x, y in zip(one, other, strict=True))
    return one, other, (p, q)


@pytest.mark.parametrize("divergence", ADDITIVE, ids=str)
@pytest.mark.parametrize("noise", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_logarithmic_divergences_of_products_add_up(divergence: Divergence, noise: float, seed: int) -> None:
    one, other, both = products(noise, seed)
    assert close(divergence.value(*both), divergence.value(*one) + divergence.value(*other))


@pytest.mark.parametrize(("divergence", "factor"), MULTIPLICATIVE, ids=str)
@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_power_sums_of_products_multiply(divergence: Divergence, factor: float, noise: float, seed: int) -> None:
    one, other, both = (1 + factor * divergence.value(*rows) for rows in products(noise, seed))
    assert close(both, one * other)


def power_sum_of_bernoulli(a: float, b: float, order: float) -> float:
    return a**order * b ** (1 - order) + (1 - a) ** order * (1 - b) ** (1 - order)


def power_sum_of_geometric(a: float, b: float, order: float) -> float:
    """Sum over k of ((1 - a) a^k)^order ((1 - b) b^k)^(1 - order)."""
    return (1 - a) ** order * (1 - b) ** (1 - order) / (1 - a**order * b ** (1 - order))


def geometric(a: float) -> Tensor:
    return torch.arange(4000, dtype=torch.float64) * math.log(a)


DISTRIBUTIONS: dict[str, tuple[Callable[[float], Tensor], Callable[[float, float, float], float]]] = {
    "Bernoulli": (lambda a: torch.tensor([a, 1 - a], dtype=torch.float64).log(), power_sum_of_bernoulli),
    "geometric": (geometric, power_sum_of_geometric),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("order", [-0.5, 0.3, 0.5, 2, 3])
@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.5, 0.6), (0.2, 0.3)])
def test_power_sums_have_their_closed_form(name: str, order: float, a: float, b: float) -> None:
    row, power_sum = DISTRIBUTIONS[name]
    rows, powers = (row(a), row(b)), power_sum(a, b, order)
    assert close(alpha(order).value(*rows), (powers - 1) / (order * (order - 1)))
    if order > 0:
        assert close(renyi(order).value(*rows), math.log(powers) / (order - 1))
    if order == 2:
        assert close(CHI_SQUARED.value(*rows), powers - 1)
    if order == 0.5:
        assert close(SQUARED_HELLINGER.value(*rows), 1 - powers)


@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.9, 0.2), (0.999, 0.5)])
def test_bernoulli_distributions_have_their_closed_forms(a: float, b: float) -> None:
    rows = DISTRIBUTIONS["Bernoulli"][0](a), DISTRIBUTIONS["Bernoulli"][0](b)
    kl = a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))
    h = -a * math.log(a) - (1 - a) * math.log(1 - a)
    assert close(KL.value(*rows), kl)
    assert close(JEFFREYS.value(*rows), (a - b) * (math.log(a / (1 - a)) - math.log(b / (1 - b))))
    assert close(TOTAL_VARIATION.value(*rows), abs(a - b))
    assert close(CHI_SQUARED.value(*rows), (a - b) ** 2 / (b * (1 - b)))
    assert close(ENTROPY.value(*rows), h)
    assert close(CROSS_ENTROPY.value(*rows), h + kl)


@pytest.mark.parametrize(("a", "b"), [(0.55, 0.7), (0.7, 0.55), (0.9, 0.2)])
def test_geometric_distributions_have_their_closed_forms(a: float, b: float) -> None:
    rows, mean = (geometric(a), geometric(b)), a / (1 - a)
    h = -math.log(1 - a) - mean * math.log(a)
    kl = math.log((1 - a) / (1 - b)) + mean * math.log(a / b)
    assert math.isclose(KL.value(*rows), kl, rel_tol=1e-13)
    assert close(JEFFREYS.value(*rows), (mean - b / (1 - b)) * math.log(a / b))
    assert close(ENTROPY.value(*rows), h)
    assert close(CROSS_ENTROPY.value(*rows), -math.log(1 - b) - mean * math.log(b))
