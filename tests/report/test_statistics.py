"""The values of DivergenceStatistics, against numpy on all rows in memory."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.support.reports import ROUNDING, Numbers, spread_pair, statistics
from torchdivergence import DivergenceStatistics, HellingerDistance, KLDivergence, RenyiDivergence
from torchdivergence.functional import hellinger_distance, kl_divergence

WEIGHTS = {
    "none": None,
    "mask": torch.arange(77).reshape(7, 11) % 3 > 0,
    "weights": torch.rand(7, 11, generator=torch.Generator().manual_seed(3)) * (torch.arange(77).reshape(7, 11) % 5),
}


def same_bits(left: Numbers, right: Numbers) -> bool:
    return {n: float(x).hex() for n, x in left.items()} == {n: float(x).hex() for n, x in right.items()}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("base", [None, 2])
def test_every_value_equals_numpy_on_all_rows(weights: Tensor | None, base: float | None) -> None:
    p, q = spread_pair()
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=base), confidence=0.9)
    for k in range(7):
        metric.update(p[k : k + 1], q[k : k + 1], None if weights is None else weights[k : k + 1])
    found = metric.to_dict()
    x = kl_divergence(p, q, log_prob=True, reduction="none", base=base).numpy()
    w = np.ones_like(x) if weights is None else weights.double().numpy()
    mean, n, g = (w * x).sum() / w.sum(), (w > 0).sum(), (w.sum(1) > 0).sum()
    error = math.sqrt(n / (n - 1) * (w**2 * (x - mean) ** 2).sum()) / w.sum()
    clustered = math.sqrt(g / (g - 1) * ((w * (x - mean)).sum(1) ** 2).sum()) / w.sum()
    assert np.isclose(found["mean"], mean, rtol=1e-14)
    assert np.isclose(found["standard_error"], error, rtol=1e-12)
    assert np.isclose(found["clustered_standard_error"], clustered, rtol=1e-12)
    effective = w.sum() ** 2 / (w.sum(1) ** 2).sum()
    factor = math.exp(scipy.stats.t.ppf(0.95, effective - 1) * clustered / mean)
    assert np.allclose([found["lower"], found["upper"]], [mean / factor, mean * factor], rtol=1e-9)
    rows = x[w > 0]
    assert (found["min"], found["max"], found["rows"]) == (rows.min(), rows.max(), n)
    for name, quantile in metric.quantiles.items():
        assert np.isclose(found[name], np.quantile(rows, quantile), rtol=2**-10)


def test_without_weights_the_standard_error_is_the_textbook_formula() -> None:
    p, q = spread_pair((30, 6))
    metric = statistics()
    metric.update(p, q)
    rows = kl_divergence(p, q, log_prob=True, reduction="none")
    found = metric.to_dict()
    assert math.isclose(found["standard_error"], rows.std().item() / math.sqrt(30), rel_tol=1e-13)
    assert found["clustered_standard_error"] == found["standard_error"]  # each row is an item


@pytest.mark.parametrize("split", [[77], [1] * 77, [30, 0, 47], [50, 27]])
def test_any_split_in_any_order_gives_statistics_of_the_same_bits(split: list[int]) -> None:
    p, q = (x.flatten(0, 1) for x in spread_pair())
    whole = statistics()
    whole.update(p, q)
    order = torch.randperm(77, generator=torch.Generator().manual_seed(1))
    metric, merged = statistics(), statistics()
    for part in order.split(split):
        metric.update(p[part], q[part])
        other = statistics()
        other.update(p[part], q[part])
        merged.merge_state(other)
    assert same_bits(metric.to_dict(), whole.to_dict())
    assert same_bits(merged.to_dict(), whole.to_dict())


def test_a_sequence_counts_as_one_in_any_batch() -> None:
    p, q = spread_pair()
    whole, parts = statistics(), statistics()
    whole.update(p, q)
    for part in ([4], [0, 6], [5, 1, 2, 3]):
        parts.update(p[part], q[part])
    assert same_bits(whole.to_dict(), parts.to_dict())


def test_forward_of_statistics_returns_the_batch_values_and_accumulates() -> None:
    p, q = spread_pair()
    metric, whole, batch = statistics(), statistics(), statistics()
    metric.update(p[:3], q[:3])
    found = metric(p[3:], q[3:])
    whole.update(p, q)
    batch.update(p[3:], q[3:])
    assert same_bits({n: x.item() for n, x in found.items()}, batch.to_dict())
    assert same_bits(metric.to_dict(), whole.to_dict())


@pytest.mark.parametrize("nan_policy", ["propagate", "omit", "raise"])
def test_invalid_rows_are_treated_as_nan_policy_says(nan_policy: Any) -> None:
    p, q = spread_pair((8, 6))
    p[3, 2] = math.nan
    metric = DivergenceStatistics(KLDivergence(log_prob=True, nan_policy=nan_policy))
    metric.update(p, q)
    if nan_policy == "raise":
        with pytest.raises(ValueError, match="number of invalid rows is 1"):
            metric.compute()
        return
    found, left = metric.to_dict(), statistics()
    left.update(p[[0, 1, 2, 4, 5, 6, 7]], q[[0, 1, 2, 4, 5, 6, 7]])
    assert (found.pop("invalid"), found.pop("rows")) == (1, 7)
    if nan_policy == "omit":
        expected = left.to_dict()
        assert same_bits(found, {name: expected[name] for name in found})
    else:
        assert found.pop("infinite") == 0
        assert all(map(math.isnan, found.values()))


def test_infinite_rows_are_counted_and_do_not_affect_finite_quantiles() -> None:
    p, q = spread_pair((8, 6))
    q[5, 0] = -math.inf
    metric = statistics()
    metric.update(p, q)
    found = metric.to_dict()
    rows = kl_divergence(p, q, log_prob=True, reduction="none")
    assert (found["mean"], found["max"], found["infinite"]) == (math.inf, math.inf, 1)
    assert math.isnan(found["standard_error"])
    assert math.isclose(found["median"], rows.quantile(0.5).item(), rel_tol=2**-10)


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (HellingerDistance(log_prob=True), hellinger_distance),
        (RenyiDivergence(0.5, log_prob=True), None),
        (KLDivergence(log_prob=True, dim=1, temperature=2.0), None),
    ],
    ids=["Hellinger", "Rényi", "other settings"],
)
def test_the_mean_equals_the_value_of_the_metric(metric: Any, function: Callable[..., Tensor] | None) -> None:
    p, q = spread_pair((9, 5, 4))
    found = DivergenceStatistics(metric)
    found.update(p, q)
    metric.reset()
    metric.update(p, q)
    mean = found.to_dict()["mean"]
    assert mean == pytest.approx(metric.compute().item(), rel=ROUNDING)
    if function:
        assert mean == pytest.approx(function(p, q, log_prob=True).item(), rel=ROUNDING)
