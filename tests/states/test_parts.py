"""Every part of a state keeps the laws of the protocol, and a new statistic is one part and one line."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.helpers import assert_same_bits
from torchdivergence import DivergenceStatistics, KLDivergence, use_backend
from torchdivergence._metrics.dict_metric import Statistic
from torchdivergence._states.contingency import ContingencyTable, Counts
from torchdivergence._states.histogram import Histogram
from torchdivergence._states.moments import Moments
from torchdivergence._states.part import DIVERGENCE, InvalidCount, NamedParts, Part, RowBatch
from torchdivergence._states.profile import Profile
from torchdivergence._states.row_totals import RowTotals
from torchdivergence._states.sequences import PartsAndRecords, SequenceRecords
from torchdivergence._states.worst import WorstRows

PARTS: dict[str, Part[Any]] = {
    "totals": RowTotals(),
    "moments": Moments([DIVERGENCE, "other"]),
    "moments without signs": Moments([DIVERGENCE, "root"], signed=False),
    "histogram": Histogram(DIVERGENCE),
    "signed histogram": Histogram("other", signed=True),
    "contingency table": ContingencyTable(DIVERGENCE, "other"),
    "profile": Profile(DIVERGENCE),
    "worst": WorstRows(DIVERGENCE, 9),
    "invalid": InvalidCount(),
}
PARTS["named"] = NamedParts(dict(PARTS))


def batch(seed: int, weighted: bool = True, shape: tuple[int, ...] = (5, 7)) -> RowBatch:
    """Rows of every kind: subnormal, huge, zero, infinite, invalid, and of weight zero."""
    generator = torch.Generator().manual_seed(seed)
    exponents = torch.randint(-1000, 400, shape, generator=generator)
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * 2.0**exponents
    special = torch.tensor([0.0, 5e-324, math.inf, math.nan, 1e300], dtype=torch.float64)
    values.view(-1)[:5] = special[: values.numel()]
    other = torch.randn(shape, generator=generator, dtype=torch.float64)
    other.view(-1)[-4:] = torch.tensor([math.nan, -math.inf, -0.0, 0.0], dtype=torch.float64)[: values.numel()]
    weights = torch.rand(shape, generator=generator, dtype=torch.float64) * (values.nan_to_num() > 1e-300)
    columns = {DIVERGENCE: values, "other": other, "root": values.sqrt()}
    items = shape[0] if shape else 1
    keys, target = torch.arange(items) * 3 + seed, torch.randint(0, 9, shape, generator=generator)
    return RowBatch(columns, weights if weighted else None, items, keys, target)


def state_of(part: Part[Any], *batches: RowBatch) -> Tensor:
    state = part.empty()
    for rows in batches:
        part.accumulate_(state, rows)
    return state


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_merged_states_are_the_state_of_all_rows(name: str, weighted: bool) -> None:
    part, (a, b, c) = PARTS[name], (batch(seed, weighted) for seed in range(3))
    states = [state_of(part, x) for x in (a, b, c)]
    assert torch.equal(part.merge(torch.stack(states)), state_of(part, c, a, b))
    pair = part.merge(torch.stack([states[2], states[0]]))
    assert torch.equal(part.merge(torch.stack([pair, states[1]])), state_of(part, a, b, c))


@pytest.mark.parametrize("name", PARTS)
def test_the_empty_state_is_neutral_and_has_the_size_of_the_part(name: str) -> None:
    part = PARTS[name]
    state = state_of(part, batch(0))
    assert part.empty().shape == state.shape == (part.size,) and state.dtype == torch.int64
    assert torch.equal(part.merge(torch.stack([part.empty(), state])), state)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_every_backend_writes_the_same_integers(name: str, weighted: bool) -> None:
    part, rows = PARTS[name], [batch(seed, weighted) for seed in range(3)]
    with use_backend("reference"):
        expected = state_of(part, *rows)
    assert torch.equal(state_of(part, *rows), expected)


@pytest.mark.parametrize("shape", [(), (1,), (40,), (3, 1), (1, 50), (4, 3, 9), (0, 4), (3, 0), (0,)], ids=str)
@pytest.mark.parametrize("name", PARTS)
def test_every_backend_writes_the_same_integers_for_any_shape_and_layout(name: str, shape: tuple[int, ...]) -> None:
    part, rows = PARTS[name], batch(0, shape=shape)
    transposed = {key: x.T.contiguous().T if x.dim() == 2 else x for key, x in rows.columns.items()}
    with use_backend("reference"):
        expected = state_of(part, rows)
    assert torch.equal(state_of(part, rows), expected)
    assert torch.equal(state_of(part, RowBatch(transposed, rows.weights, rows.items, rows.keys, rows.target)), expected)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_state_with_records_grows_and_merges_into_that_of_all_rows(weighted: bool) -> None:
    part = PartsAndRecords({"invalid": InvalidCount()}, SequenceRecords(["other", "missing", DIVERGENCE]))
    a, b, c = (batch(seed, weighted) for seed in range(3))
    assert part.fits(len(part.empty())) and not part.fits(len(part.empty()) + 4)
    one, pair = part.extended(part.empty(), a), part.extended(part.extended(part.empty(), c), b)
    assert part.fits(len(one)) and len(one) == 1 + 5 * 5
    states = part.merge_all([one, part.empty(), pair]), part.extended(part.extended(one, b), c)
    (first, *others), (second, *more) = (part.read(state)["sequences"] for state in states)
    assert first.tolist() == second.tolist() == list(range(15))
    assert (
        part.read(states[0])["invalid"]
        == part.read(states[1])["invalid"]
        == sum(int(x.invalid_rows.sum()) for x in (a, b, c))
    )
    weights, sums = others
    assert torch.equal(weights, more[0]) and list(sums) == list(more[1]) == ["other", DIVERGENCE]
    for name, found in sums.items():
        assert_same_bits(found, more[1][name])
        expected = (
            weighted_sums(x, name)[key] for key in first.tolist() for x in (a, b, c) if key in weighted_sums(x, name)
        )
        assert found.tolist() == pytest.approx(list(expected), rel=1e-12, nan_ok=True)


def weighted_sums(rows: RowBatch, name: str) -> dict[int, float]:
    """By key."""
    assert rows.keys is not None
    products = rows.columns[name].where(rows.valid_weights > 0, 0) * rows.valid_weights
    return dict(zip(rows.keys.tolist(), products.sum(1).tolist(), strict=True))


@pytest.mark.parametrize("weighted", [True, False])
def test_a_contingency_table_counts_the_valid_rows_of_positive_weight_by_the_signs_of_two_columns(
    weighted: bool,
) -> None:
    part, rows = ContingencyTable("other", DIVERGENCE), batch(0, weighted)
    rows.columns[DIVERGENCE][1:] -= 1.0
    signs = [(rows.columns[name] > 0)[rows.valid_weights > 0].tolist() for name in part.columns]
    pairs = list(zip(*signs, strict=True))
    expected = Counts(*map(pairs.count, [(True, True), (True, False), (False, True), (False, False)]))
    assert part.read(state_of(part, rows)) == expected
    assert expected.first != expected.second and min(expected) > 0


class Exceedances(Part[int]):
    """The number of rows above a threshold."""

    size = 1

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def accumulate_(self, state: Tensor, batch: RowBatch) -> None:
        state += ((batch.values > self.threshold) & (batch.valid_weights > 0)).sum()

    def read(self, state: Tensor) -> int:
        return int(state)


def exceedances(count: int) -> Mapping[str, float]:
    return {"exceedances": count}


class StatisticsWithExceedances(DivergenceStatistics):
    """The statistics with one more."""

    def _declared(self) -> dict[str, Statistic]:
        return {**super()._declared(), "exceedances": Statistic(Exceedances(0.2), ["exceedances"], exceedances)}


def test_a_new_statistic_is_one_part_and_one_line() -> None:
    p, q = torch.randn(2, 40, 10, generator=torch.Generator().manual_seed(0)).mul_(0.5)
    rows = KLDivergence(log_prob=True, reduction="none")(p, q)
    metric = StatisticsWithExceedances(KLDivergence(log_prob=True))
    other = StatisticsWithExceedances(KLDivergence(log_prob=True))
    metric.update(p[:11], q[:11])
    other.update(p[11:], q[11:])
    metric.merge_state(other)
    expected = int((rows > 0.2).sum())
    assert 0 < expected < 40
    assert metric.compute()["exceedances"] == expected
    plain = DivergenceStatistics(KLDivergence(log_prob=True))
    plain.update(p, q)
    assert metric["exceedances"].compute() == expected
    assert metric.compute() == {**plain.compute(), "exceedances": expected}
