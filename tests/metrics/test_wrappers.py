"""The wrappers of torchmetrics round the package's metrics give the bits of the metrics alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric, MultitaskWrapper, Running

from tests.support.divergences import ENTROPY, HELLINGER, KL, Member, jensen_shannon, renyi
from tests.support.helpers import pair
from tests.support.merge_laws import assert_same_bits
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

Batch = tuple[Tensor, ...]
MEMBERS = [KL, jensen_shannon(0.5), HELLINGER, renyi(2), ENTROPY]
BATCHES: list[Batch] = [pair(rows, seed) for seed, rows in enumerate([5, 3, 1, 4, 2, 6])]


def metric(member: Member, **settings: Any) -> torchmetrics.Metric:
    return member.metric(**member.parameter, **settings)


def of(member: Member, batches: list[Batch], reduction: str = "mean") -> Tensor:
    """The function's value over all rows of the batches."""
    p, q = (torch.cat(x) for x in zip(*batches, strict=True))
    return member.function(p, q, reduction=reduction, **member.parameter)


def assert_all_same(values: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert_same_bits(value, expected[name])


# Running


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_a_running_metric_has_the_bits_of_the_batches_in_its_window(member: Member, window: int) -> None:
    running = Running(metric(member), window=window)
    for _ in range(2):
        for i, batch in enumerate(BATCHES):
            if i % 2:
                running.update(*batch)
            else:
                assert_same_bits(running(*batch), of(member, [batch]))
            assert_same_bits(running.compute(), of(member, BATCHES[max(0, i + 1 - window) : i + 1]))
        running.reset()


def test_a_running_metric_of_rows_has_those_in_its_window_in_an_order_of_its_own() -> None:
    running = Running(KLDivergence(reduction="none"), window=2)
    for batch in BATCHES[:4]:
        running.update(*batch)
    assert_same_bits(running.compute().sort().values, of(KL, BATCHES[2:4], "none").sort().values)


# MinMaxMetric


@pytest.mark.parametrize("member", MEMBERS, ids=str)
def test_the_least_and_the_largest_are_among_the_values_computed(member: Member) -> None:
    least_and_largest, seen = MinMaxMetric(metric(member)), []
    for epoch in BATCHES[:3], BATCHES[3:]:
        for i, batch in enumerate(epoch):
            least_and_largest.update(*batch)
            seen.append(of(member, epoch[: i + 1]))
            values = least_and_largest.compute()
            assert_all_same(values, {"raw": seen[-1], "max": torch.stack(seen).max(), "min": torch.stack(seen).min()})
        least_and_largest.reset()  # of torchmetrics: it keeps the least and the largest


def test_min_max_forgets_in_forward_as_it_does_round_any_metric() -> None:
    ours, theirs = MinMaxMetric(KLDivergence()), MinMaxMetric(torchmetrics.KLDivergence())
    for batch in BATCHES[:2]:
        ours(*batch)
        theirs(*batch)
    assert theirs.compute()["raw"] == torchmetrics.KLDivergence()(*BATCHES[1])
    assert_same_bits(ours.compute()["raw"], of(KL, BATCHES[1:2]))


# BootStrapper


class Remembering(KLDivergence):
    """Remembers the rows that it was given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seen: list[Batch] = []

    def update(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> None:
        super().update(p, q, weights)
        self.seen.append((p, q, weights))


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_each_bootstrap_has_the_bits_of_the_rows_that_it_drew(strategy: str) -> None:
    torch.manual_seed(0)
    bootstraps = BootStrapper(Remembering(), num_bootstraps=6, raw=True, sampling_strategy=strategy)
    for p, q in BATCHES:
        bootstraps.update(p, q, weights=torch.arange(1.0, len(p) + 1))
    drawn = [[torch.cat(x) for x in zip(*m.seen, strict=True)] for m in bootstraps.metrics]
    expected = torch.stack([kl_divergence(p, q, weights=weights) for p, q, weights in drawn])
    values = bootstraps.compute()
    assert_all_same(values, {"raw": expected, "mean": expected.mean(), "std": expected.std()})
    assert len(expected.unique()) == 6


# ClasswiseWrapper


def test_classwise_refuses_the_one_value_of_all_rows() -> None:
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        ClasswiseWrapper(KLDivergence())(*BATCHES[0])


def test_classwise_names_each_row() -> None:
    wrapper = ClasswiseWrapper(KLDivergence(reduction="none"), prefix="row_")
    wrapper.update(*BATCHES[0])
    wrapper.update(*BATCHES[1])
    rows = of(KL, BATCHES[:2], "none")
    assert_all_same(wrapper.compute(), {f"row_{i}": row for i, row in enumerate(rows)})


# MultitaskWrapper, MetricTracker, arithmetic


def test_each_task_takes_its_p_first_and_then_its_q() -> None:
    tasks = {"one": KLDivergence(), "all": DivergenceCollection([KLDivergence(), TotalVariationDistance()])}
    wrapper = MultitaskWrapper(tasks)
    for (p, q), (other_p, other_q) in zip(BATCHES[:3], BATCHES[3:], strict=True):
        values = wrapper({"one": p, "all": other_p}, {"one": q, "all": other_q})
        assert_same_bits(values["one"], kl_divergence(p, q))
    values = wrapper.compute()
    assert_same_bits(values["one"], of(KL, BATCHES[:3]))
    p, q = (torch.cat(x) for x in zip(*BATCHES[3:], strict=True))
    expected = {"KLDivergence": kl_divergence(p, q), "TotalVariationDistance": total_variation_distance(p, q)}
    assert_all_same(values["all"], expected)


@pytest.mark.parametrize("collection", [MetricCollection, DivergenceCollection])
def test_a_tracker_of_a_collection_remembers_each_epoch(collection: Callable[..., MetricCollection]) -> None:
    names = {member.metric.__name__: member for member in MEMBERS}
    tracker = MetricTracker(collection({name: metric(member) for name, member in names.items()}))
    for batch in BATCHES:
        tracker.increment()
        tracker.update(*batch)
    expected = {name: torch.stack([of(member, [batch]) for batch in BATCHES]) for name, member in names.items()}
    assert_all_same(tracker.compute_all(), expected)
    best, steps = tracker.best_metric(return_step=True)
    assert best == {name: values.min().item() for name, values in expected.items()}
    assert steps == {name: values.argmin().item() for name, values in expected.items()}


SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "a - b": lambda a, b: a - b,
    "abs(a - b)": lambda a, b: abs(a - b),
    "(a + b) / 2": lambda a, b: (a + b) / 2,
    "1 - a * b": lambda a, b: 1 - a * b,
    "a / b": lambda a, b: a / b,
    "a ** 0.5": lambda a, _: a**0.5,
}


@pytest.mark.parametrize("written", SUMS)
def test_arithmetic_on_metrics_is_that_on_their_values(written: str) -> None:
    combine = SUMS[written]
    combined = combine(KLDivergence(), TotalVariationDistance())
    for _ in range(2):
        for batch in BATCHES:
            value = combined(*batch)
            assert_same_bits(value, combine(kl_divergence(*batch), total_variation_distance(*batch)))
        p, q = (torch.cat(x) for x in zip(*BATCHES, strict=True))
        assert_same_bits(combined.compute(), combine(kl_divergence(p, q), total_variation_distance(p, q)))
        combined.reset()
