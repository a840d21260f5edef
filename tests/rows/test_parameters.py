"""Any beta and any order, far out and next to their limits, against arithmetic with digits enough."""

import math
from functools import lru_cache

import pytest
import torch
from mpmath import mp, mpf

from tests.support.backends import ENGINES, only
from tests.support.definitions import distribution
from tests.support.divergences import Member, alpha, jensen_shannon, renyi
from tests.support.tolerances import promised

inf = math.inf
STEP = 2.0**-52
BETAS = [1e-5, 1e-4, 1e-3, 0.999, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1 - STEP / 2]
ORDERS = [1e-300, 1e-100, 1e-12, 1e-8, 1e-3, 1 - 1e-3, 1 - 1e-9, 1 - STEP / 2, 1 + STEP, 1 + 1e-9, 1.001, 1.5]
ORDERS += [5.0, 10.0, 50.0, 100.0, 1e3, 1e4]
MEMBERS = [*map(jensen_shannon, BETAS), *map(renyi, [*ORDERS, 1e6, 1e100, 1e300]), *map(alpha, ORDERS)]
MEMBERS += [alpha(-order) for order in ORDERS]
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
def truth_of(member: Member, row: int, dtype: torch.dtype) -> mpf:
    """Kept for the other engine."""
    p, q = (torch.tensor(x, dtype=dtype) for x in ROWS[row])
    order = abs(member.parameter.get("alpha", 1.0))
    with mp.workdps(50 + int(max(0.0, -2 * math.log10(order)))):  # of which a tiny order takes some from the powers
        return max(member.of(distribution(p, True), distribution(q, True)), mpf(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("member", MEMBERS, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_any_parameter_gives_the_value_of_the_definition(engine: str, member: Member, dtype: torch.dtype) -> None:
    relative, floor = promised(member, (dtype, dtype), (True, True))
    for row, (p, q) in enumerate(ROWS):
        with only(engine):
            value = member.value(torch.tensor(p, dtype=dtype), torch.tensor(q, dtype=dtype))
        truth = truth_of(member, row, dtype)
        error = relative * truth if truth >= floor else 1e-15  # the error of a share
        assert value == truth or abs(value - truth) <= error, f"{value} is not {mp.nstr(truth, 17)} for {p}, {q}"
        assert 0 <= value <= member.bound * (1 + STEP)
