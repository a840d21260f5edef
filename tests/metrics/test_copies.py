"""Cloned, deep-copied and pickled metrics are independent of their originals."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cases import each
from tests.support.divergences import Divergence, every_divergence
from tests.support.helpers import COPIES, assert_same_bits, concatenated, pair, state_tensors
from tests.support.wrapped import BATCHES, WRAPPED, update

every_copy = each("duplicate", COPIES.values())


@every_divergence
@every_copy
@each("reduction", ["mean", "none"])
def test_a_copy_keeps_the_settings_and_accumulates_independently(
    divergence: Divergence, duplicate: Callable[[Any], Any], reduction: str
) -> None:
    base = {"base": 2} if divergence.has_log_unit else {}
    metric = divergence.make(reduction=reduction, nan_policy="omit", dim=1, **base)
    metric.update(*pair())
    other = duplicate(metric)
    settings = {"reduction": reduction, "nan_policy": "omit", "dim": 1} | base | divergence.parameter
    assert {name: getattr(other, name) for name in settings} == settings
    other.update(*pair(seed=1))
    metric.reset()
    rows = concatenated([pair(), pair(seed=1)])
    value = divergence.function(*rows, reduction=reduction, **base, **divergence.parameter)
    assert_same_bits(other.compute(), value)
    assert not metric.update_called
    assert not any(x.any() for x in state_tensors(metric))


@pytest.mark.parametrize("duplicate", [COPIES["deepcopy"], COPIES["pickle"]], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_copied_wrapper_accumulates_independently(name: str, duplicate: Callable[[Any], Any]) -> None:
    wrapped = WRAPPED[name]
    original = update(wrapped.make(), BATCHES[:2])
    other = update(duplicate(original), BATCHES[2:])
    wrapped.check(other.compute(), BATCHES)
    wrapped.check(original.compute(), BATCHES[:2])
