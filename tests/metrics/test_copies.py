"""Wrapped metrics that are copied, go to other processes, or are used by threads: the bits of the function."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import sub
from typing import Any, NamedTuple

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import MinMaxMetric, MultitaskWrapper, Running

from tests.support.definitions import near
from tests.support.divergences import FAMILY, Member
from tests.support.helpers import pair
from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

Batch = tuple[Tensor, ...]
BATCHES: list[Batch] = [pair(rows, seed) for seed, rows in enumerate([5, 3, 1, 4, 2, 6])]


def kl_and_tv() -> tuple[KLDivergence, TotalVariationDistance]:
    """Of sums, which show what a mean hides: rows that count twice."""
    return KLDivergence(reduction="sum"), TotalVariationDistance(reduction="sum")


def tracker() -> MetricTracker:
    made = MetricTracker(kl_and_tv()[0])
    made.increment()
    return made


def nest() -> MetricCollection:
    """Collections in a collection, in which a metric comes twice, and one of torchmetrics."""
    kl, tv = kl_and_tv()
    inner = MetricCollection({"kl": kl.clone(), "bits": KLDivergence(reduction="sum", base=2)}, prefix="in_")
    theirs = MetricCollection([torchmetrics.KLDivergence()], prefix="theirs_")
    return MetricCollection([inner, DivergenceCollection([kl, tv]), theirs])


def sums(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    return kl_divergence(p, q, reduction="sum"), total_variation_distance(p, q, reduction="sum")


def of_nest(p: Tensor, q: Tensor) -> dict[str, Tensor]:
    (kl, tv), bits = sums(p, q), kl_divergence(p, q, reduction="sum", base=2)
    return {"in_kl": kl, "in_bits": bits, "KLDivergence": kl, "TotalVariationDistance": tv}


class Wrapped(NamedTuple):
    """A wrapper, and what it computes over all rows: one value or some."""

    make: Callable[[], torch.nn.Module]
    value: Callable[[Tensor, Tensor], Tensor | dict[str, Tensor]]

    def check(self, wrapper: Any, batches: list[Batch]) -> None:
        self.check_value(wrapper.compute(), batches)

    def check_value(self, value: Tensor | dict[str, Tensor], batches: list[Batch]) -> None:
        expected = self.value(*(torch.cat(x) for x in zip(*batches, strict=True)))
        if isinstance(expected, Tensor):
            expected, value = {"value": expected}, {"value": value}
        for name in expected:
            assert_same_bits(value[name], expected[name])


def feed(wrapper: Any, batches: list[Batch]) -> Any:
    for p, q in batches:
        wrapper.update(*({"task": p}, {"task": q}) if isinstance(wrapper, MultitaskWrapper) else (p, q))
    return wrapper


WRAPPED = {
    "running": Wrapped(lambda: Running(kl_and_tv()[0], window=8), lambda *rows: sums(*rows)[0]),
    "min and max": Wrapped(
        lambda: MinMaxMetric(kl_and_tv()[0]), lambda *rows: dict.fromkeys(("raw", "min", "max"), sums(*rows)[0])
    ),
    "task": Wrapped(lambda: MultitaskWrapper({"task": kl_and_tv()[0]}), lambda *rows: {"task": sums(*rows)[0]}),
    "tracker": Wrapped(tracker, lambda *rows: sums(*rows)[0]),
    "a - b": Wrapped(lambda: sub(*kl_and_tv()), lambda *rows: sub(*sums(*rows))),
    "abs(a) / 3": Wrapped(lambda: abs(kl_and_tv()[0]) / 3, lambda *rows: sums(*rows)[0] / 3),
    "nested": Wrapped(nest, of_nest),
}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_copy_goes_on_by_itself(name: str, again: Callable) -> None:
    wrapped = WRAPPED[name]
    original = feed(wrapped.make(), BATCHES[:2])
    other = feed(again(original), BATCHES[2:])
    wrapped.check(other, BATCHES)
    wrapped.check(original, BATCHES[:2])


def finished(pickled: bytes, own: list[Batch]) -> Any:
    """What a rank computes with a wrapper that comes from another process."""
    return feed(pickle.loads(pickled), own).compute()


@pytest.mark.parametrize("name", WRAPPED)
def test_pickled_to_two_processes_it_takes_the_rows_of_both(two_ranks: Ranks, name: str) -> None:
    wrapped = WRAPPED[name]
    pickled = [pickle.dumps(feed(wrapped.make(), [batch])) for batch in BATCHES[:2]]
    for value in two_ranks.run(finished, pickled, [BATCHES[2:3], BATCHES[3:]]):
        wrapped.check_value(value, BATCHES)


THREADS = 4


def test_threads_may_update_metrics_of_their_own_at_the_same_time() -> None:
    batches = [near((rows, 300), 2.0, 0.1, seed=rows) for rows in (1, 40, 7, 64)]
    whole = [torch.cat(x) for x in zip(*batches, strict=True)]

    def value(member: Member) -> Tensor:
        metric = member.metric(log_prob=True, **member.parameter)
        for batch in batches:
            metric.update(*batch)
        return metric.compute()

    with ThreadPoolExecutor(THREADS) as threads:
        values = list(threads.map(value, FAMILY))
    for member, found in zip(FAMILY, values, strict=True):
        assert_same_bits(found, member.function(*whole, True, **member.parameter))


def test_threads_may_update_collections_of_their_own_at_the_same_time() -> None:
    batches = [near((rows, 300), 2.0, 0.1, seed=rows) for rows in (1, 40, 7, 64)]

    def values(times: int) -> dict[str, Tensor]:
        collection = DivergenceCollection([KLDivergence(True, "sum"), TotalVariationDistance(True, "sum")])
        for batch in batches * times:
            collection.update(*batch)
        return collection.compute()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(values, range(1, 9)))
    for times, of_thread in enumerate(found, 1):
        p, q = (torch.cat(x * times) for x in zip(*batches, strict=True))
        assert_same_bits(of_thread["KLDivergence"], kl_divergence(p, q, True, "sum"))
        assert_same_bits(of_thread["TotalVariationDistance"], total_variation_distance(p, q, True, "sum"))
