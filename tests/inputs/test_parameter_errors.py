"""Parameters out of range, and units where there are none, are refused: by the function and by the metric."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.divergences import FAMILY, Member, alpha, jensen_shannon, renyi

P, Q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.2, 0.3, 0.5]])

NOT_NUMBERS = [True, False, "0.5", None, 0.5j, [0.5]]
NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400]
BETA, ALPHA, ORDER = jensen_shannon(0.5), alpha(2), renyi(2)
RANGES = {BETA: "above 0 and below 1", ALPHA: "above -inf and below inf", ORDER: "above 0 and below inf"}
REFUSED = [
    *((member, value, TypeError, "a number") for member in RANGES for value in NOT_NUMBERS),
    *((member, value, ValueError, range_) for member, range_ in RANGES.items() for value in NOT_FINITE),
    *((BETA, value, ValueError, RANGES[BETA]) for value in (0, 1, 0.0, 1.0, -0.1, 1.1)),
    *((ORDER, value, ValueError, RANGES[ORDER]) for value in (0, 0.0, -0.0, -1, -1e-300)),
]


@pytest.mark.parametrize(("member", "value", "error", "demand"), REFUSED)
@pytest.mark.parametrize("caller", ["function", "metric"])
def test_a_parameter_out_of_range_is_refused(
    member: Member, value: Any, error: type[Exception], demand: str, caller: str
) -> None:
    [name] = member.parameter
    call = partial(member.function, P, Q) if caller == "function" else member.metric
    with pytest.raises(error, match=rf"^{name} must be {demand}, but got {re.escape(repr(value))}"):
        call(**{name: value})


@pytest.mark.parametrize("member", [alpha(2), renyi(2)], ids=str)
def test_an_order_must_be_given(member: Member) -> None:
    with pytest.raises(TypeError, match="alpha"):
        member.metric()
    with pytest.raises(TypeError, match="alpha"):
        member.function(P, Q)


@pytest.mark.parametrize("member", [jensen_shannon(0.5), alpha(0.5), renyi(0.5)], ids=str)
@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.tensor, Fraction])
def test_any_kind_of_number_is_a_number(member: Member, kind: Callable[[float], Any]) -> None:
    [name] = member.parameter
    assert member.function(P, Q, **{name: kind(0.5)}) == member.function(P, Q, **{name: 0.5})
    assert getattr(member.metric(**{name: kind(0.5)}), name) == 0.5


@pytest.mark.parametrize("member", [m for m in FAMILY if not m.in_nats], ids=str)
@pytest.mark.parametrize("base", [2, 10, math.e])
def test_a_divergence_without_a_unit_takes_no_base(member: Member, base: float) -> None:
    with pytest.raises(ValueError, match=rf"base={base} is a unit of logarithms, which this divergence does not have"):
        member.function(P, Q, **member.parameter, base=base)
    with pytest.raises(ValueError, match=rf"base={base} is a unit of logarithms, which this divergence does not have"):
        member.metric(**member.parameter, base=base)


@pytest.mark.parametrize("member", [m for m in FAMILY if m.in_nats], ids=str)
def test_a_logarithm_takes_any_base(member: Member) -> None:
    assert torch.equal(member.rows(P, Q, False, base=2), member.rows(P, Q, False) / math.log(2))


@pytest.mark.parametrize("member", FAMILY, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, "no mass"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_row_that_is_no_distribution_is_nan_and_its_neighbours_are_not(
    member: Member, bad: float | str, side: int
) -> None:
    rows = [torch.full((3, 4), 0.25), torch.full((3, 4), 0.25)]
    rows[side][1] = torch.tensor([0.5, 0.5, 0.0, bad]) if isinstance(bad, float) else 0.0
    assert member.rows(*rows, False).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("member", FAMILY, ids=str)
def test_a_row_of_weight_zero_may_hold_anything(member: Member) -> None:
    p, q = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    expected = member.rows(p, q, False)
    p[1] = math.nan
    assert torch.equal(
        member.rows(p, q, False, weights=torch.tensor([1, 0, 2])), expected * torch.tensor([1.0, 0.0, 2.0])
    )
