"""Metrics in collections give the same bits as alone; a DivergenceCollection reads each batch once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection

import torchdivergence as td
from tests.support.backends import count_passes
from tests.support.collected_metrics import batches, separate_values, some_metrics
from tests.support.definitions import near
from tests.support.divergences import DIVERGENCES
from tests.support.helpers import COPIES, Reduction, assert_all_same, assert_same_bits, kl_after, pair
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance, use_backend


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
def test_each_metric_of_a_collection_gives_the_bits_it_gives_alone(nan_policy: str) -> None:
    data = batches()
    if nan_policy == "omit":
        data[1][0][2, 3] = torch.nan
    collection = DivergenceCollection(some_metrics(log_prob=True, nan_policy=nan_policy))
    for args in data:
        collection.update(*args)
    assert_all_same(collection.compute(), separate_values(data, nan_policy=nan_policy))


def test_a_plain_collection_may_contain_metrics_of_torchmetrics() -> None:
    data = batches()
    collection = MetricCollection({**some_metrics(log_prob=True), "other": torchmetrics.KLDivergence(True)})
    for p, q, weights in data:
        collection.update(p, q, weights=weights)
    values = collection.compute()
    values.pop("other")
    assert_all_same(values, separate_values(data))


def test_forward_of_a_collection_returns_the_batch_values_and_accumulates() -> None:
    data = batches()
    collection = DivergenceCollection(some_metrics(log_prob=True))
    for args in data:
        assert_all_same(collection(*args), separate_values([args]))
    assert_all_same(collection.compute(), separate_values(data))


def test_a_collection_reads_each_batch_once() -> None:
    collection = DivergenceCollection(some_metrics(log_prob=True))
    data = batches(2)
    with use_backend("reference"), count_passes() as passes:
        collection.update(*data[0])
        collection(*data[1])
    assert len(passes) == 2


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES.keys())
def test_a_copied_collection_accumulates_independently(duplicate: Callable[[Any], Any]) -> None:
    data = batches()
    collection = DivergenceCollection(some_metrics(log_prob=True), prefix="val_")
    collection.update(*data[0])
    other = duplicate(collection)
    for args in data[1:]:
        other.update(*args)
    assert_all_same(other.compute(), {f"val_{name}": value for name, value in separate_values(data).items()})
    assert_all_same(collection.compute(), {f"val_{name}": value for name, value in separate_values(data[:1]).items()})


def test_prefixes_reset_and_added_metrics() -> None:
    collection = DivergenceCollection([KLDivergence()], prefix="a_", postfix="_z")
    collection.add_metrics({"tv": td.TotalVariationDistance()})
    p, q = torch.rand(2, 3, 4).unbind()
    collection.update(p, q)
    collection.reset()
    collection.update(p, p)
    assert collection.compute() == {"a_KLDivergence_z": 0, "a_tv_z": 0}
    assert collection.clone(prefix="b_").compute().keys() == {"b_KLDivergence_z", "b_tv_z"}


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_batch_refused_by_a_collection_changes_nothing(call: str) -> None:
    data = batches()
    collection = DivergenceCollection(some_metrics(log_prob=True))
    collection.update(*data[1])
    with pytest.raises(ValueError, match="same shape"):
        getattr(collection, call)(torch.rand(2, 3), torch.rand(2, 4))
    assert all(metric.update_count == 1 for metric in collection.values())
    assert_all_same(collection.compute(), separate_values(data[1:2]))


def test_a_collection_refuses_other_metrics_and_different_settings() -> None:
    with pytest.raises(TypeError, match=r"got KLDivergence.*MetricCollection"):
        DivergenceCollection([torchmetrics.KLDivergence()])
    with pytest.raises(ValueError, match="the same log_prob, dim and temperature"):
        DivergenceCollection({"a": KLDivergence(), "b": KLDivergence(log_prob=True)})


# MetricCollection shares the state of metrics whose states are equal after the first batch

LOG_PROBS: dict[str, bool | tuple[bool, bool]] = {"p and q": False, "logits": True, "logits of q": (False, True)}


def square_batch(first: bool) -> tuple[Tensor, Tensor]:
    """A batch for any ``dim``; in the first p = q, as after initialising a student from its teacher."""
    p, q = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(7))
    return (p, p) if first else (p, q)


def many_settings() -> dict[str, Any]:
    metrics: dict[str, Any] = {
        f"{name}, {reduction}, dim {dim}, base {base}": KLDivergence(logs, reduction, dim=dim, base=base)
        for name, logs in LOG_PROBS.items()
        for reduction in ("mean", "sum", "batchmean", "none")
        for dim in (0, 1)
        for base in (None, 2)
    }
    return metrics | {"torchmetrics": torchmetrics.KLDivergence()}


def test_metrics_of_any_settings_give_the_same_bits_in_a_plain_collection() -> None:
    together, alone = MetricCollection(many_settings()), many_settings()
    for first in (True, False, False):
        together.update(*square_batch(first))
        for metric in alone.values():
            metric.update(*square_batch(first))
    values = together.compute()
    assert values.keys() == alone.keys()
    for name, metric in alone.items():
        torch.testing.assert_close(values[name], metric.compute(), rtol=0, atol=0, msg=name)


def test_metrics_of_the_same_state_share_it_in_a_plain_collection() -> None:
    metrics = MetricCollection({r: KLDivergence(reduction=r) for r in ("mean", "batchmean", "sum")})
    metrics.update(*pair())
    assert len(metrics.compute_groups) == 1


UNITS = {"nats": None, "bits": 2}


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("between", ["nothing", "reset"])
def test_update_and_forward_of_a_plain_collection_may_alternate(reduction: Reduction, between: str) -> None:
    metrics = MetricCollection({unit: KLDivergence(reduction=reduction, base=b) for unit, b in UNITS.items()})
    metrics.update(*pair())
    if between == "reset":
        metrics.reset()
    metrics(*pair(seed=1))
    batches = [pair(seed=1)] if between == "reset" else [pair(), pair(seed=1)]
    for unit, value in metrics.compute().items():
        assert_same_bits(value, kl_after(*batches, reduction=reduction, base=UNITS[unit]).compute())


LOGITS = near((7, 5, 9), 2.0, 1.0)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("step", ["update", "forward"])
def test_all_divergences_stay_apart_in_a_plain_collection_after_equal_rows(reduction: str, step: str) -> None:
    p, q = LOGITS
    names = [str(d).replace(".", "_") for d in DIVERGENCES]
    metrics = [d.make(log_prob=True, reduction=reduction) for d in DIVERGENCES]
    collection = MetricCollection(dict(zip(names, metrics, strict=True)))
    for batch in ((p, p), (p, q), (q[:2], p[:2])):
        collection(*batch) if step == "forward" else collection.update(*batch)
    values, rows = collection.compute(), (torch.cat([p, p, q[:2]]), torch.cat([p, q, p[:2]]))
    for name, divergence in zip(names, DIVERGENCES, strict=True):
        expected = divergence.function(*rows, True, reduction, **divergence.parameter)
        assert_same_bits(values[name], expected.flatten() if reduction == "none" else expected)


def test_members_may_be_replaced_and_removed_and_the_others_go_on() -> None:
    p, q = batches(1)[0][:2]
    kl, tv = KLDivergence(log_prob=True), TotalVariationDistance(log_prob=True)
    collection = DivergenceCollection({"a": KLDivergence(log_prob=True), "b": KLDivergence(log_prob=True, base=2)})
    for _ in range(2):
        collection.update(p, q)
        kl.update(p, q)
    collection["b"] = TotalVariationDistance(log_prob=True)
    for metric in (collection, kl, tv):
        metric.update(q, p)
    assert collection.compute() == {"a": kl.compute(), "b": tv.compute()}
    del collection["a"]
    collection.update(p, q)
    tv.update(p, q)
    assert collection.compute() == {"b": tv.compute()}
    with pytest.raises(ValueError, match="the same log_prob"):
        collection["c"] = KLDivergence()
