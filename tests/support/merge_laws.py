"""The laws of merging, which every metric of the package keeps. They know nothing of what a metric measures.

A law takes a case (a metric's class and settings), rows, and a way to cut them into batches, and asserts. To put
another divergence under the laws, add its cases to the list in ``metrics/test_merge_laws.py``.
"""

import io
import math
import pickle
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from tests.support.strategies import splits

Split = list[list[int]]


class Case(NamedTuple):
    """A metric and how it is fed."""

    metric: Callable[..., Metric]
    settings: dict[str, Any]
    weighted: bool = False

    def make(self, **settings: Any) -> Metric:
        return self.metric(log_prob=True, **self.settings | settings)

    @property
    def keeps_order(self) -> bool:
        return self.settings.get("reduction", "mean") in ("none", None)

    def __str__(self) -> str:
        words = [self.metric.__name__, *(f"{k}={v}" for k, v in self.settings.items())]
        return "-".join([*words, "weighted"] if self.weighted else words)


class Rows(NamedTuple):
    """Logits ``[rows, classes]`` and weights ``[rows]``."""

    p: Tensor
    q: Tensor
    weights: Tensor


@st.composite
def rows_and_split(draw: st.DrawFn) -> tuple[Rows, Split]:
    """Rows whose divergences lie many orders of magnitude apart, one of them perhaps infinite or invalid."""
    count = draw(st.integers(1, 14))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    p = torch.randn(count, 6, generator=generator) * 4
    scale = 10 ** (torch.rand(count, 1, generator=generator) * 8 - 6)
    q = p + scale * torch.randn(count, 6, generator=generator)
    weights = torch.rand(count, generator=generator) * torch.randint(0, 4, (count,), generator=generator)
    if spoilt := draw(st.sampled_from([None, None, -math.inf, math.nan])):
        q[draw(st.integers(0, count - 1)), 0] = spoilt
    return Rows(p, q, weights), draw(splits(count))


def feed(metric: Metric, case: Case, rows: Rows, batches: Iterable[list[int]]) -> Metric:
    for batch in batches:
        metric.update(*arguments(case, rows, batch))
    return metric


def arguments(case: Case, rows: Rows, batch: list[int]) -> tuple[Tensor, ...]:
    return rows.p[batch], rows.q[batch], *([rows.weights[batch]] if case.weighted else [])


def expected(case: Case, rows: Rows, split: Split) -> Tensor:
    """The value of one batch of all rows: in their own order, unless the metric is to keep that of the split."""
    order = list(chain(*split)) if case.keeps_order else list(range(len(rows.p)))
    return feed(case.make(), case, rows, [order]).compute()


def assert_same_bits(value: Tensor, other: Tensor) -> None:
    assert value.dtype == other.dtype == torch.float64
    assert value.shape == other.shape
    same = value.view(torch.int64) == other.view(torch.int64)
    assert (same | (value.isnan() & other.isnan())).all(), f"{value} is not {other}"


def halves(split: Split) -> tuple[Split, Split]:
    middle = len(split) // 2
    return split[:middle], split[middle:]


def merged(metric: Metric, other: Metric) -> Metric:
    metric.merge_state(other)
    return metric


def any_batches_in_any_order(case: Case, rows: Rows, split: Split) -> None:
    assert_same_bits(feed(case.make(), case, rows, split).compute(), expected(case, rows, split))


def the_row_sum_is_that_of_fsum(case: Case, rows: Rows, split: Split) -> None:
    plain = case.make(reduction="none", base=None, nan_policy="propagate")
    values = feed(plain, case, rows, split if case.keeps_order else [list(range(len(rows.p)))]).compute().flatten()
    unit = math.log(case.settings["base"]) if case.settings.get("base") else 1.0
    if case.keeps_order:
        truth = values / unit
    else:
        weights = rows.weights.tolist() if case.weighted else [1.0] * len(values)
        if case.settings.get("nan_policy") == "omit":
            weights = [w for w, invalid in zip(weights, values.isnan().tolist(), strict=True) if not invalid]
            values = values[~values.isnan()]
        divisors = {"mean": math.fsum(weights), "batchmean": len(weights), "sum": 1}
        divisor = divisors[case.settings.get("reduction", "mean")]
        total = math.fsum(values.tolist())
        truth = torch.tensor(total / divisor / unit if divisor else math.nan, dtype=torch.float64)
    value = feed(case.make(), case, rows, split).compute()
    assert_same_bits(value, truth.view(value.shape))


def batches_without_weights_count_each_row_once(case: Case, rows: Rows, split: Split) -> None:
    mixed, explicit = case.make(), case.make()
    for i, batch in enumerate(split):
        p, q, weights = (x[batch] for x in rows)
        mixed.update(p, q, weights if i % 2 else None)
        explicit.update(p, q, weights if i % 2 else torch.ones(len(batch), dtype=torch.int32))
    assert_same_bits(mixed.compute(), explicit.compute())


def metrics_merged_from_the_left(case: Case, rows: Rows, split: Split) -> None:
    parts = [feed(case.make(), case, rows, [batch]) for batch in split]
    assert_same_bits(reduce(merged, parts).compute(), expected(case, rows, split))


def metrics_merged_from_the_right(case: Case, rows: Rows, split: Split) -> None:
    parts = [feed(case.make(), case, rows, [batch]) for batch in split]
    whole = reduce(lambda later, earlier: merged(earlier, later), reversed(parts))
    assert_same_bits(whole.compute(), expected(case, rows, split))


def a_merged_metric_is_not_changed(case: Case, rows: Rows, split: Split) -> None:
    first, second = halves(split)
    one, other = feed(case.make(), case, rows, first), feed(case.make(), case, rows, second)
    before = feed(case.make(), case, rows, second).metric_state
    feed(merged(one, other), case, rows, second)
    for name, state in other.metric_state.items():
        torch.testing.assert_close(state, before[name], rtol=0, atol=0)


def forward_accumulates_as_update_does(case: Case, rows: Rows, split: Split) -> None:
    metric = case.make()
    for batch in split:
        of_batch = metric(*arguments(case, rows, batch))
        assert_same_bits(of_batch, feed(case.make(), case, rows, [batch]).compute())
    assert_same_bits(metric.compute(), expected(case, rows, split))


def forward_and_update_may_take_turns(case: Case, rows: Rows, split: Split) -> None:
    metric = case.make()
    for i, batch in enumerate(split):
        (metric.update if i % 2 else metric)(*arguments(case, rows, batch))
    assert_same_bits(metric.compute(), expected(case, rows, split))


def a_reset_metric_is_a_new_one(case: Case, rows: Rows, split: Split) -> None:
    metric = feed(case.make(), case, rows, [*split, *split])
    metric.compute()
    metric.reset()
    assert_same_bits(feed(metric, case, rows, split).compute(), expected(case, rows, split))


def a_look_midway_changes_nothing(case: Case, rows: Rows, split: Split) -> None:
    first, second = halves(split)
    metric = feed(case.make(), case, rows, [[], *first])
    assert_same_bits(metric.compute(), feed(case.make(), case, rows, [list(chain(*first))]).compute())
    assert_same_bits(feed(metric, case, rows, second).compute(), expected(case, rows, split))


def _goes_on(case: Case, rows: Rows, split: Split, copy: Callable[[Metric], Metric]) -> None:
    """A copy made midway takes the rest, and so does its original, each on its own."""
    first, second = halves(split)
    metric = feed(case.make(), case, rows, [[], *first])
    copied = feed(copy(metric), case, rows, second)
    assert_same_bits(metric.compute(), feed(case.make(), case, rows, [list(chain(*first))]).compute())
    assert_same_bits(copied.compute(), expected(case, rows, split))
    assert_same_bits(feed(metric, case, rows, second).compute(), expected(case, rows, split))


def a_clone_goes_on(case: Case, rows: Rows, split: Split) -> None:
    _goes_on(case, rows, split, lambda metric: metric.clone())


def a_pickled_metric_goes_on(case: Case, rows: Rows, split: Split) -> None:
    _goes_on(case, rows, split, lambda metric: pickle.loads(pickle.dumps(metric)))


def a_saved_state_goes_on(case: Case, rows: Rows, split: Split) -> None:
    def through_a_file(metric: Metric) -> Metric:
        metric.persistent(True)
        file = io.BytesIO()
        torch.save(metric.state_dict(), file)
        file.seek(0)
        fresh = case.make()
        fresh.load_state_dict(torch.load(file, weights_only=True))
        return fresh

    _goes_on(case, rows, split, through_a_file)


Law = Callable[[Case, Rows, Split], None]
LAWS: list[Law] = [
    any_batches_in_any_order,
    the_row_sum_is_that_of_fsum,
    batches_without_weights_count_each_row_once,
    metrics_merged_from_the_left,
    metrics_merged_from_the_right,
    a_merged_metric_is_not_changed,
    forward_accumulates_as_update_does,
    forward_and_update_may_take_turns,
    a_reset_metric_is_a_new_one,
    a_look_midway_changes_nothing,
    a_clone_goes_on,
    a_pickled_metric_goes_on,
    a_saved_state_goes_on,
]
