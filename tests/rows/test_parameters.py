"""Rows for extreme values of beta and of the orders, and for values next to their limits."""

import math
from functools import lru_cache

import pytest
import torch
from mpmath import mp, mpf

from tests.support.backends import BACKENDS, use_backend
from tests.support.cases import each
from tests.support.definitions import distribution, near, relative_error
from tests.support.divergences import Divergence, alpha, jensen_shannon, renyi
from tests.support.tolerances import FLOOR, RELATIVE_ERROR, ROUNDING, stated_error

inf = math.inf
STEP = 2.0**-52
BETAS = [1e-5, 1e-4, 1e-3, 0.999, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1 - STEP / 2]
ORDERS = [1e-300, 1e-100, 1e-12, 1e-8, 1e-3, 1 - 1e-3, 1 - 1e-9, 1 - STEP / 2, 1 + STEP, 1 + 1e-9, 1.001, 1.5]
ORDERS += [5.0, 10.0, 50.0, 100.0, 1e3, 1e4]
EXTREME = [*map(jensen_shannon, BETAS), *map(renyi, [*ORDERS, 1e6, 1e100, 1e300]), *map(alpha, ORDERS)]
EXTREME += [alpha(-order) for order in ORDERS]
ROWS = [
    ([0.0, 0.1, 0.3], [0.1, 0.2, -0.3]),
    ([0.0, 0.1, 0.3], [1e-3, 0.1, 0.3]),
    ([0.0, 0.1, -inf], [0.1, 0.2, -0.3]),
    ([0.0, 0.1, 0.3], [0.1, 0.2, -inf]),
    ([0.0, 0.1, 0.3], [0.1, 0.2, -30.0]),
    ([0.0, -inf], [-inf, 0.0]),
    ([0.0, -50.0], [-50.0, 0.0]),
    ([0.0, -800.0], [-800.0, 0.0]),
    ([0.0, 1.0], [0.0, 1.0]),
]


@lru_cache(len(ROWS))
def truth_of(divergence: Divergence, row: int, dtype: torch.dtype) -> mpf:
    """Cached for the other backend."""
    p, q = (torch.tensor(x, dtype=dtype) for x in ROWS[row])
    order = abs(divergence.parameter.get("alpha", 1.0))
    with mp.workdps(50 + int(max(0.0, -2 * math.log10(order)))):  # a tiny order cancels so many digits of the powers
        return max(divergence.truth_of(distribution(p, True), distribution(q, True)), mpf(0))


@each("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("divergence", EXTREME, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_parameter_gives_the_value_of_the_definition(
    backend: str, divergence: Divergence, dtype: torch.dtype
) -> None:
    relative, floor = stated_error(divergence, (dtype, dtype), (True, True))
    for row, (p, q) in enumerate(ROWS):
        with use_backend(backend):
            value = divergence.value(torch.tensor(p, dtype=dtype), torch.tensor(q, dtype=dtype))
        truth = truth_of(divergence, row, dtype)
        error = relative * truth if truth >= floor else ROUNDING
        assert value == truth or abs(value - truth) <= error, f"{value} is not {mp.nstr(truth, 17)} for {p}, {q}"
        assert 0 <= value <= divergence.bound * (1 + STEP)


STEPS = [-1e-2, -1e-4, -1e-6, -1e-8, -1e-12, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2]
NEAR_LIMITS = [*(make(1 + step) for make in (alpha, renyi) for step in STEPS), *map(alpha, STEPS)]


@pytest.mark.parametrize("divergence", NEAR_LIMITS, ids=str)
@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_orders_close_to_0_and_1_are_accurate(divergence: Divergence, noise: float) -> None:
    p, q = near(10, 2.0, noise)
    truth = divergence.truth(p, q)
    assert truth > FLOOR
    assert relative_error(divergence.value(p, q), truth) <= RELATIVE_ERROR


@pytest.mark.parametrize("order", [1e-12, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_small_orders_of_renyi_divergence_are_accurate(order: float, noise: float) -> None:
    p, q = near(10, 2.0, noise)
    truth = renyi(order).truth(p, q)  # about the order times the reverse KL divergence
    assert truth >= FLOOR * order
    assert relative_error(renyi(order).value(p, q), truth) <= RELATIVE_ERROR


@pytest.mark.parametrize("order", [0.01, 0.3, 0.5, 0.9, 1, 1.5, 2, 10])
@pytest.mark.parametrize("gap", [30.0, 300.0, 700.0, 1000.0, 5000.0])
def test_renyi_divergence_of_almost_disjoint_rows_is_accurate(order: float, gap: float) -> None:
    p, q = torch.tensor([0.0, -gap, -gap]), torch.tensor([-gap, 0.0, -1.0])
    assert relative_error(renyi(order).value(p, q), renyi(order).truth(p, q)) <= 1e-14
