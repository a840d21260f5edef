"""Every divergence as a metric: its function's bits, its parameter, and its place in a collection."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torchmetrics import MetricCollection

from tests.support.definitions import near
from tests.support.divergences import FAMILY, Member
from tests.support.merge_laws import assert_same_bits
from torchdivergence import functional, metrics

every = pytest.mark.parametrize("member", FAMILY, ids=str)
LOGITS = near((7, 5, 9), 2.0, 1.0)


def test_the_family_of_these_tests_is_all_of_the_package() -> None:
    assert {m.metric.__name__ for m in FAMILY} == set(metrics.__all__)
    assert {m.function.__name__ for m in FAMILY} == set(functional.__all__)


@every
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_metric_gives_the_bits_of_the_function(member: Member, reduction: str, weighted: bool) -> None:
    p, q = LOGITS
    weights = torch.arange(35.0).view(7, 5) % 4 if weighted else None
    metric = member.metric(log_prob=True, reduction=reduction, **member.parameter)
    for batch in (slice(0, 3), slice(3, 3), slice(3, 7)):
        metric.update(p[batch], q[batch], None if weights is None else weights[batch])
    value = member.function(p, q, True, reduction, **member.parameter, weights=weights)
    assert_same_bits(metric.compute(), value.flatten() if reduction == "none" else value)


@every
@pytest.mark.parametrize("duplicate", [lambda m: m.clone(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_the_parameter_and_a_life_of_its_own(member: Member, duplicate: Callable) -> None:
    metric = member.metric(log_prob=True, **member.parameter)
    other = duplicate(metric)
    assert {name: getattr(other, name) for name in member.parameter} == member.parameter
    other.update(*LOGITS)
    assert not metric.update_called
    assert_same_bits(other.compute(), member.function(*LOGITS, True, **member.parameter))


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("step", ["update", "forward"])
def test_a_collection_of_all_tells_them_apart_after_equal_rows(reduction: str, step: str) -> None:
    p, q = LOGITS
    names = [str(m).replace(".", "_") for m in FAMILY]
    made = [m.metric(log_prob=True, reduction=reduction, **m.parameter) for m in FAMILY]
    collection = MetricCollection(dict(zip(names, made, strict=True)))
    for batch in ((p, p), (p, q), (q[:2], p[:2])):
        collection(*batch) if step == "forward" else collection.update(*batch)
    values, rows = collection.compute(), (torch.cat([p, p, q[:2]]), torch.cat([p, q, p[:2]]))
    for name, member in zip(names, FAMILY, strict=True):
        expected = member.function(*rows, True, reduction, **member.parameter)
        assert_same_bits(values[name], expected.flatten() if reduction == "none" else expected)


def test_no_two_metrics_keep_their_state_under_one_name() -> None:
    names = []
    for member in FAMILY:
        metric = member.metric(**member.parameter)
        metric.persistent(True)
        names += metric.state_dict()
    assert len(names) == len(FAMILY) == len(set(names))
