"""Errors, quantiles and extremes from a state of fixed size are those of all rows kept in memory."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MetricCollection

from tests.support.definitions import near
from torchdivergence import DivergenceStatistics, HellingerDistance, KLDivergence, RenyiDivergence
from torchdivergence._states import histogram as quantiles
from torchdivergence._states.moments import Moments
from torchdivergence.functional import hellinger_distance, kl_divergence

SHAPE = 7, 11, 6
WEIGHTS = {
    "none": None,
    "mask": torch.arange(77).reshape(7, 11) % 3 > 0,
    "weights": torch.rand(7, 11, generator=torch.Generator().manual_seed(3)) * (torch.arange(77).reshape(7, 11) % 5),
}


def pair(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose rows are at very different distances, by sequence too."""
    p, q = near(shape, 3.0, 1.0, seed=seed)
    scale = torch.logspace(-3, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    return p, p + (q - p) * scale


def statistics(**settings: Any) -> DivergenceStatistics:
    return DivergenceStatistics(KLDivergence(log_prob=True), **settings)


def values(metric: DivergenceStatistics) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def same_bits(left: dict[str, float], right: dict[str, float]) -> bool:
    return {n: x.hex() for n, x in left.items()} == {n: x.hex() for n, x in right.items()}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("base", [None, 2])
def test_every_value_is_that_of_numpy_on_all_rows(weights: Tensor | None, base: float | None) -> None:
    p, q = pair()
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=base), confidence=0.9)
    for k in range(7):
        metric.update(p[k : k + 1], q[k : k + 1], None if weights is None else weights[k : k + 1])
    found = values(metric)
    x = kl_divergence(p, q, log_prob=True, reduction="none", base=base).numpy()
    w = np.ones_like(x) if weights is None else weights.double().numpy()
    mean, n, g = (w * x).sum() / w.sum(), (w > 0).sum(), (w.sum(1) > 0).sum()
    error = math.sqrt(n / (n - 1) * (w**2 * (x - mean) ** 2).sum()) / w.sum()
    clustered = math.sqrt(g / (g - 1) * ((w * (x - mean)).sum(1) ** 2).sum()) / w.sum()
    assert np.isclose(found["mean"], mean, rtol=1e-14)
    assert np.isclose(found["standard_error"], error, rtol=1e-12)
    assert np.isclose(found["clustered_standard_error"], clustered, rtol=1e-12)
    # 1.6448536269514722 is the 95 % quantile of the normal distribution
    assert np.isclose(found["upper"] - mean, 1.6448536269514722 * clustered, rtol=1e-9)
    assert np.isclose(mean - found["lower"], 1.6448536269514722 * clustered, rtol=1e-9)
    rows = x[w > 0]
    assert (found["min"], found["max"], found["rows"]) == (rows.min(), rows.max(), n)
    for name, quantile in metric.quantiles.items():
        assert np.isclose(found[name], np.quantile(rows, quantile), rtol=2**-8)


def test_without_weights_the_standard_error_is_that_of_the_textbook() -> None:
    p, q = pair((30, 6))
    metric = statistics()
    metric.update(p, q)
    rows = kl_divergence(p, q, log_prob=True, reduction="none")
    found = values(metric)
    assert math.isclose(found["standard_error"], rows.std().item() / math.sqrt(30), rel_tol=1e-13)
    assert found["clustered_standard_error"] == found["standard_error"]  # each row is an item


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(-1e150, 1e150), min_size=1, max_size=12), st.floats(1e-3, 1e3))
def test_moments_are_those_of_fractions(numbers: list[float], offset: float) -> None:
    x = torch.tensor(numbers, dtype=torch.float64) * 1e-13 + offset  # far closer together than they are large
    moments = Moments(1)
    state = torch.zeros(moments.size, dtype=torch.int64)
    moments.add_(state, x[None], torch.ones_like(x))
    (found,) = moments.read(state)
    exact = [Fraction(value) for value in x.tolist()]
    n, mean = len(exact), sum(exact) / len(exact)
    assert found.value == float(mean)
    if n > 1:
        variance = sum((value - mean) ** 2 for value in exact) / (n - 1) / n
        # below 2**-100 of the squares, their last bits count
        floor = 2.0**-50 * float(max(map(abs, exact)))
        assert math.isclose(found.standard_error, math.sqrt(variance), rel_tol=1e-12, abs_tol=floor)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=40), st.sampled_from([0, 0.001, 0.1, 0.5, 0.9, 1]))
def test_a_quantile_is_between_its_neighbours_and_off_by_a_256th(numbers: list[float], q: float) -> None:
    x = torch.tensor(numbers, dtype=torch.float64)
    counts, limits = torch.zeros(2 * quantiles.BINS, dtype=torch.int64), quantiles.no_limits()
    quantiles.count_(counts, limits, x, torch.ones_like(x, dtype=torch.bool))
    found = quantiles.Distribution(counts, limits)
    ordered = sorted(numbers)
    low = ordered[math.floor((len(x) - 1) * q)]
    high = ordered[min(math.floor((len(x) - 1) * q) + 1, len(x) - 1)]
    value = found.quantile(q)
    assert (found.minimum, found.maximum) == (ordered[0], ordered[-1])
    if all(1.2e-38 < abs(x) < 3.4e38 for x in (low, high)):
        assert low - abs(low) / 256 <= value <= high + abs(high) / 256
    assert ordered[0] <= value <= ordered[-1] or (low, high) == (-math.inf, math.inf)


@pytest.mark.parametrize("split", [[77], [1] * 77, [30, 0, 47], [50, 27]])
def test_any_split_in_any_order_gives_the_same_bits(split: list[int]) -> None:
    p, q = (x.flatten(0, 1) for x in pair())
    whole = statistics()
    whole.update(p, q)
    order = torch.randperm(77, generator=torch.Generator().manual_seed(1))
    metric, merged = statistics(), statistics()
    for part in order.split(split):
        metric.update(p[part], q[part])
        other = statistics()
        other.update(p[part], q[part])
        merged.merge_state(other)
    assert same_bits(values(metric), values(whole))
    assert same_bits(values(merged), values(whole))


def test_a_sequence_counts_once_wherever_it_comes() -> None:
    p, q = pair()
    whole, parts = statistics(), statistics()
    whole.update(p, q)
    for part in ([4], [0, 6], [5, 1, 2, 3]):
        parts.update(p[part], q[part])
    assert same_bits(values(whole), values(parts))


def test_forward_gives_the_batch_and_takes_it_in() -> None:
    p, q = pair()
    metric, whole, batch = statistics(), statistics(), statistics()
    metric.update(p[:3], q[:3])
    found = metric(p[3:], q[3:])
    whole.update(p, q)
    batch.update(p[3:], q[3:])
    assert same_bits({n: x.item() for n, x in found.items()}, values(batch))
    assert same_bits(values(metric), values(whole))


@pytest.mark.parametrize("nan_policy", ["propagate", "omit", "raise"])
def test_invalid_rows_are_treated_as_the_policy_says(nan_policy: Any) -> None:
    p, q = pair((8, 6))
    p[3, 2] = math.nan
    metric = DivergenceStatistics(KLDivergence(log_prob=True, nan_policy=nan_policy))
    metric.update(p, q)
    if nan_policy == "raise":
        with pytest.raises(ValueError, match="found in 1 of them"):
            metric.compute()
        return
    found, left = values(metric), statistics()
    left.update(p[[0, 1, 2, 4, 5, 6, 7]], q[[0, 1, 2, 4, 5, 6, 7]])
    assert (found.pop("invalid"), found.pop("rows")) == (1, 7)
    if nan_policy == "omit":
        expected = values(left)
        assert same_bits(found, {name: expected[name] for name in found})
    else:
        assert found.pop("infinite") == 0
        assert all(map(math.isnan, found.values()))


def test_infinite_rows_are_counted_and_leave_the_quantiles_alone() -> None:
    p, q = pair((8, 6))
    q[5, 0] = -math.inf
    metric = statistics()
    metric.update(p, q)
    found = values(metric)
    rows = kl_divergence(p, q, log_prob=True, reduction="none")
    assert (found["mean"], found["max"], found["infinite"]) == (math.inf, math.inf, 1)
    assert math.isnan(found["standard_error"])
    assert math.isclose(found["median"], rows.quantile(0.5).item(), rel_tol=2**-8)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (HellingerDistance(log_prob=True), hellinger_distance),
        (RenyiDivergence(0.5, log_prob=True), None),
        (KLDivergence(log_prob=True, dim=1, temperature=2.0), None),
    ],
    ids=["Hellinger", "Rényi", "other settings"],
)
def test_the_mean_is_that_of_the_metric(metric: Any, function: Callable[..., Tensor] | None) -> None:
    p, q = pair((9, 5, 4))
    found = DivergenceStatistics(metric)
    found.update(p, q)
    metric.reset()
    metric.update(p, q)
    assert found.compute()["mean"] == metric.compute()
    if function:
        assert found.compute()["mean"] == function(p, q, log_prob=True)


def test_in_a_plain_collection_equal_ones_share_a_state_and_others_do_not() -> None:
    p, q = pair()
    members = {
        "kl": DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.5]),
        "tails": DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.01, 0.99]),
        "hellinger": DivergenceStatistics(HellingerDistance(log_prob=True), quantiles=[0.5]),
    }
    metrics = MetricCollection({name: metric.clone() for name, metric in members.items()})
    for metric in (metrics, *members.values()):
        metric.update(p, p)
        metric.update(p, q)
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["hellinger"], ["kl", "tails"]]
    for name, metric in metrics.items():
        assert same_bits(values(metric), values(members[name]))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"metric": torch.nn.Linear(2, 2)}, TypeError, "torchdivergence's, but got Linear"),
        ({"metric": KLDivergence(reduction="sum")}, ValueError, "must be 'mean', but got 'sum'"),
        ({"metric": KLDivergence(), "quantiles": [50]}, ValueError, "below 1, but got 50"),
        ({"metric": KLDivergence(), "confidence": 1}, ValueError, "confidence must be above 0 and below 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        DivergenceStatistics(**arguments)


def test_a_refused_batch_changes_nothing() -> None:
    p, q = pair()
    metric = statistics()
    metric.update(p, q)
    before = values(metric)
    with pytest.raises(ValueError, match="same shape"):
        metric.update(p, q[..., :-1])
    assert same_bits(values(metric), before)
    assert metric.update_count == 1


def test_the_plot_has_the_shares_of_the_rows_in_the_unit_of_the_metric() -> None:
    p, q = pair()
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=2))
    metric.update(p, q)
    figure, ax = metric.plot()
    heights, edges, _ = ax.patches[0].get_data()
    shares = heights * np.log2(edges[1:] / edges[:-1])
    rows = kl_divergence(p, q, log_prob=True, reduction="none", base=2).numpy()
    assert sum(shares) == pytest.approx(100)
    assert shares[: len(shares) // 2].sum() == pytest.approx(100 * (rows < edges[len(shares) // 2]).mean())
    metric.plot(ax, label="again")
    figure.canvas.draw()
