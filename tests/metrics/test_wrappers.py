"""In torchmetrics' wrappers and arithmetic, metrics give the same bits as without them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric, MultitaskWrapper, Running

from tests.support.divergences import ENTROPY, HELLINGER, KL, Divergence, jensen_shannon, renyi
from tests.support.helpers import Batch, assert_all_same, assert_same_bits, concatenated
from tests.support.wrapped import BATCHES
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence._inputs.projected import Side
from torchdivergence.functional import kl_divergence, total_variation_distance

SOME_DIVERGENCES = [KL, jensen_shannon(0.5), HELLINGER, renyi(2), ENTROPY]


def value_of(divergence: Divergence, batches: Sequence[Batch], reduction: str = "mean") -> Tensor:
    """The function's value over all rows of the batches."""
    return divergence.function(*concatenated(batches), reduction=reduction, **divergence.parameter)


# Running


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("divergence", SOME_DIVERGENCES, ids=str)
def test_a_running_metric_has_the_bits_of_the_batches_in_its_window(divergence: Divergence, window: int) -> None:
    running = Running(divergence.make(), window=window)
    for _ in range(2):
        for i, batch in enumerate(BATCHES):
            if i % 2:
                running.update(*batch)
            else:
                assert_same_bits(running(*batch), value_of(divergence, [batch]))
            assert_same_bits(running.compute(), value_of(divergence, BATCHES[max(0, i + 1 - window) : i + 1]))
        running.reset()


def test_a_running_metric_of_rows_has_the_rows_in_its_window_in_any_order() -> None:
    running = Running(KLDivergence(reduction="none"), window=2)
    for batch in BATCHES[:4]:
        running.update(*batch)
    assert_same_bits(running.compute().sort().values, value_of(KL, BATCHES[2:4], "none").sort().values)


# MinMaxMetric


@pytest.mark.parametrize("divergence", SOME_DIVERGENCES, ids=str)
def test_min_and_max_are_those_of_the_computed_values(divergence: Divergence) -> None:
    wrapper, seen = MinMaxMetric(divergence.make()), []
    for epoch in BATCHES[:3], BATCHES[3:]:
        for i, batch in enumerate(epoch):
            wrapper.update(*batch)
            seen.append(value_of(divergence, epoch[: i + 1]))
            values = wrapper.compute()
            assert_all_same(values, {"raw": seen[-1], "max": torch.stack(seen).max(), "min": torch.stack(seen).min()})
        wrapper.reset()  # by torchmetrics' design it keeps min and max


def test_min_max_forgets_the_sum_in_forward_as_for_any_metric() -> None:
    wrapper, foreign = MinMaxMetric(KLDivergence()), MinMaxMetric(torchmetrics.KLDivergence())
    for batch in BATCHES[:2]:
        wrapper(*batch)
        foreign(*batch)
    assert foreign.compute()["raw"] == torchmetrics.KLDivergence()(*BATCHES[1])
    assert_same_bits(wrapper.compute()["raw"], value_of(KL, BATCHES[1:2]))


# BootStrapper


class RecordingKLDivergence(KLDivergence):
    """Records the rows that it is updated with."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seen: list[tuple[Any, ...]] = []

    def update(self, p: Side, q: Side, weights: Tensor | None = None) -> None:
        super().update(p, q, weights)
        self.seen.append((p, q, weights))


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_each_bootstrap_has_the_bits_of_the_rows_it_drew(strategy: str) -> None:
    torch.manual_seed(0)
    bootstraps = BootStrapper(RecordingKLDivergence(), num_bootstraps=6, raw=True, sampling_strategy=strategy)
    for p, q in BATCHES:
        bootstraps.update(p, q, weights=torch.arange(1.0, len(p) + 1))
    recorders: Any = bootstraps.metrics
    drawn = [concatenated(metric.seen) for metric in recorders]
    expected = torch.stack([kl_divergence(p, q, weights=weights) for p, q, weights in drawn])
    values = bootstraps.compute()
    assert_all_same(values, {"raw": expected, "mean": expected.mean(), "std": expected.std()})
    assert len(expected.unique()) == 6


# ClasswiseWrapper


def test_classwise_refuses_a_single_value() -> None:
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        ClasswiseWrapper(KLDivergence())(*BATCHES[0])


def test_classwise_names_each_row() -> None:
    wrapper = ClasswiseWrapper(KLDivergence(reduction="none"), prefix="row_")
    wrapper.update(*BATCHES[0])
    wrapper.update(*BATCHES[1])
    rows = value_of(KL, BATCHES[:2], "none")
    assert_all_same(wrapper.compute(), {f"row_{i}": row for i, row in enumerate(rows)})


# MultitaskWrapper, MetricTracker, arithmetic


def test_each_task_of_a_multitask_wrapper_takes_p_and_q() -> None:
    tasks: dict[str, torchmetrics.Metric | MetricCollection] = {
        "one": KLDivergence(),
        "all": DivergenceCollection([KLDivergence(), TotalVariationDistance()]),
    }
    wrapper = MultitaskWrapper(tasks)
    for (p, q), (other_p, other_q) in zip(BATCHES[:3], BATCHES[3:], strict=True):
        values = wrapper({"one": p, "all": other_p}, {"one": q, "all": other_q})
        assert_same_bits(values["one"], kl_divergence(p, q))
    values = wrapper.compute()
    assert_same_bits(values["one"], value_of(KL, BATCHES[:3]))
    p, q = concatenated(BATCHES[3:])
    expected = {"KLDivergence": kl_divergence(p, q), "TotalVariationDistance": total_variation_distance(p, q)}
    assert_all_same(values["all"], expected)


def test_a_tracker_records_each_epoch_and_the_smallest_value() -> None:
    tracker = MetricTracker(KLDivergence())
    for batch in BATCHES:
        tracker.increment()
        tracker.update(*batch)
    values = torch.stack([kl_divergence(*batch) for batch in BATCHES])
    assert_same_bits(tracker.compute_all(), values)
    result: Any = tracker.best_metric(return_step=True)
    best, step = result
    assert (best, step) == (values.min().item(), values.argmin().item())


@pytest.mark.parametrize("collection", [MetricCollection, DivergenceCollection])
def test_a_tracker_of_a_collection_records_each_epoch(collection: Callable[..., MetricCollection]) -> None:
    names = {divergence.name: divergence for divergence in SOME_DIVERGENCES}
    tracker = MetricTracker(collection({name: divergence.make() for name, divergence in names.items()}))
    for batch in BATCHES:
        tracker.increment()
        tracker.update(*batch)
    expected = {
        name: torch.stack([value_of(divergence, [batch]) for batch in BATCHES]) for name, divergence in names.items()
    }
    assert_all_same(tracker.compute_all(), expected)
    result: Any = tracker.best_metric(return_step=True)
    best, steps = result
    assert best == {name: values.min().item() for name, values in expected.items()}
    assert steps == {name: values.argmin().item() for name, values in expected.items()}


EXPRESSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "a - b": lambda a, b: a - b,
    "abs(a - b)": lambda a, b: abs(a - b),
    "(a + b) / 2": lambda a, b: (a + b) / 2,
    "1 - a * b": lambda a, b: 1 - a * b,
    "a / b": lambda a, b: a / b,
    "a ** 0.5": lambda a, _: a**0.5,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_arithmetic_on_metrics_equals_arithmetic_on_their_values(expression: str) -> None:
    combine = EXPRESSIONS[expression]
    combined = combine(KLDivergence(), TotalVariationDistance())
    for _ in range(2):
        for batch in BATCHES:
            value = combined(*batch)
            assert_same_bits(value, combine(kl_divergence(*batch), total_variation_distance(*batch)))
        p, q = concatenated(BATCHES)
        assert_same_bits(combined.compute(), combine(kl_divergence(p, q), total_variation_distance(p, q)))
        combined.reset()
