"""The laws of merging, which hold for every metric of the package whatever it computes.

A law takes a case (the class of a metric and its settings), rows, and a split of the rows into batches, and asserts. To
test another divergence, add cases to the list in ``metrics/test_merge_laws.py``.
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

from tests.support.helpers import assert_same_bits
from tests.support.strategies import splits

Split = list[list[int]]


class Case(NamedTuple):
    """A metric, its settings, and whether its rows are weighted."""

    metric: Callable[..., Metric]
    settings: dict[str, Any]
    weighted: bool = False

    def make(self, **settings: Any) -> Metric:
        return self.metric(log_prob=True, **self.settings | settings)

    @property
    def keeps_order(self) -> bool:
        return self.settings.get("reduction", "mean") in ("none", None)

    def __str__(self) -> str:
        parts = [self.metric.__name__, *(f"{k}={v}" for k, v in self.settings.items())]
        return "-".join([*parts, "weighted"] if self.weighted else parts)


class Rows(NamedTuple):
    """Logits ``[rows, classes]`` and weights ``[rows]``."""

    p: Tensor
    q: Tensor
    weights: Tensor


@st.composite
def rows_and_split(draw: st.DrawFn) -> tuple[Rows, Split]:
    """Rows whose divergences differ by many orders of magnitude; one may be infinite or invalid."""
    count = draw(st.integers(1, 14))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    p = torch.randn(count, 6, generator=generator) * 4
    scale = 10 ** (torch.rand(count, 1, generator=generator) * 8 - 6)
    q = p + scale * torch.randn(count, 6, generator=generator)
    weights = torch.rand(count, generator=generator) * torch.randint(0, 4, (count,), generator=generator)
    if bad := draw(st.sampled_from([None, None, -math.inf, math.nan])):
        q[draw(st.integers(0, count - 1)), 0] = bad
    return Rows(p, q, weights), draw(splits(count))


def update(metric: Metric, case: Case, rows: Rows, batches: Iterable[list[int]]) -> Metric:
    for batch in batches:
        metric.update(*arguments(case, rows, batch))
    return metric


def arguments(case: Case, rows: Rows, batch: list[int]) -> tuple[Tensor, ...]:
    return rows.p[batch], rows.q[batch], *([rows.weights[batch]] if case.weighted else [])


def expected(case: Case, rows: Rows, split: Split) -> Tensor:
    """The value of all rows as one batch; in the order of the split if the metric returns rows."""
    order = list(chain(*split)) if case.keeps_order else list(range(len(rows.p)))
    return update(case.make(), case, rows, [order]).compute()


def halves(split: Split) -> tuple[Split, Split]:
    middle = len(split) // 2
    return split[:middle], split[middle:]


def merged(metric: Metric, other: Metric) -> Metric:
    metric.merge_state(other)
    return metric


def any_split_in_any_order(case: Case, rows: Rows, split: Split) -> None:
    assert_same_bits(update(case.make(), case, rows, split).compute(), expected(case, rows, split))


def the_sum_over_rows_equals_fsum(case: Case, rows: Rows, split: Split) -> None:
    plain = case.make(reduction="none", base=None, nan_policy="propagate")
    values = update(plain, case, rows, split if case.keeps_order else [list(range(len(rows.p)))]).compute().flatten()
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
    value = update(case.make(), case, rows, split).compute()
    assert_same_bits(value, truth.view(value.shape))


def batches_without_weights_count_each_row_once(case: Case, rows: Rows, split: Split) -> None:
    mixed, explicit = case.make(), case.make()
    for i, batch in enumerate(split):
        p, q, weights = (x[batch] for x in rows)
        mixed.update(p, q, weights if i % 2 else None)
        explicit.update(p, q, weights if i % 2 else torch.ones(len(batch), dtype=torch.int32))
    assert_same_bits(mixed.compute(), explicit.compute())


def merging_from_the_left(case: Case, rows: Rows, split: Split) -> None:
    parts = [update(case.make(), case, rows, [batch]) for batch in split]
    assert_same_bits(reduce(merged, parts).compute(), expected(case, rows, split))


def merging_from_the_right(case: Case, rows: Rows, split: Split) -> None:
    parts = [update(case.make(), case, rows, [batch]) for batch in split]
    whole = reduce(lambda later, earlier: merged(earlier, later), reversed(parts))
    assert_same_bits(whole.compute(), expected(case, rows, split))


def the_merged_in_metric_is_not_changed(case: Case, rows: Rows, split: Split) -> None:
    first, second = halves(split)
    one, other = update(case.make(), case, rows, first), update(case.make(), case, rows, second)
    before = update(case.make(), case, rows, second).metric_state
    update(merged(one, other), case, rows, second)
    for name, state in other.metric_state.items():
        torch.testing.assert_close(state, before[name], rtol=0, atol=0)


def forward_accumulates_as_update_does(case: Case, rows: Rows, split: Split) -> None:
    metric = case.make()
    for batch in split:
        batch_value = metric(*arguments(case, rows, batch))
        assert_same_bits(batch_value, update(case.make(), case, rows, [batch]).compute())
    assert_same_bits(metric.compute(), expected(case, rows, split))


def forward_and_update_may_alternate(case: Case, rows: Rows, split: Split) -> None:
    metric = case.make()
    for i, batch in enumerate(split):
        (metric.update if i % 2 else metric)(*arguments(case, rows, batch))
    assert_same_bits(metric.compute(), expected(case, rows, split))


def a_reset_metric_behaves_like_a_new_one(case: Case, rows: Rows, split: Split) -> None:
    metric = update(case.make(), case, rows, [*split, *split])
    metric.compute()
    metric.reset()
    assert_same_bits(update(metric, case, rows, split).compute(), expected(case, rows, split))


def an_intermediate_compute_changes_nothing(case: Case, rows: Rows, split: Split) -> None:
    first, second = halves(split)
    metric = update(case.make(), case, rows, [[], *first])
    assert_same_bits(metric.compute(), update(case.make(), case, rows, [list(chain(*first))]).compute())
    assert_same_bits(update(metric, case, rows, second).compute(), expected(case, rows, split))


def _assert_independent(case: Case, rows: Rows, split: Split, copy: Callable[[Metric], Metric]) -> None:
    """A copy made after the first half, and then its original, take the second half independently."""
    first, second = halves(split)
    metric = update(case.make(), case, rows, [[], *first])
    copied = update(copy(metric), case, rows, second)
    assert_same_bits(metric.compute(), update(case.make(), case, rows, [list(chain(*first))]).compute())
    assert_same_bits(copied.compute(), expected(case, rows, split))
    assert_same_bits(update(metric, case, rows, second).compute(), expected(case, rows, split))


def a_clone_accumulates_independently(case: Case, rows: Rows, split: Split) -> None:
    _assert_independent(case, rows, split, lambda metric: metric.clone())


def a_pickled_metric_accumulates_independently(case: Case, rows: Rows, split: Split) -> None:
    _assert_independent(case, rows, split, lambda metric: pickle.loads(pickle.dumps(metric)))


def a_loaded_state_accumulates_independently(case: Case, rows: Rows, split: Split) -> None:
    def through_a_file(metric: Metric) -> Metric:
        metric.persistent(True)
        file = io.BytesIO()
        torch.save(metric.state_dict(), file)
        file.seek(0)
        fresh = case.make()
        fresh.load_state_dict(torch.load(file, weights_only=True))
        return fresh

    _assert_independent(case, rows, split, through_a_file)


Law = Callable[[Case, Rows, Split], None]
LAWS: list[Law] = [
    any_split_in_any_order,
    the_sum_over_rows_equals_fsum,
    batches_without_weights_count_each_row_once,
    merging_from_the_left,
    merging_from_the_right,
    the_merged_in_metric_is_not_changed,
    forward_accumulates_as_update_does,
    forward_and_update_may_alternate,
    a_reset_metric_behaves_like_a_new_one,
    an_intermediate_compute_changes_nothing,
    a_clone_accumulates_independently,
    a_pickled_metric_accumulates_independently,
    a_loaded_state_accumulates_independently,
]
