"""Confidence intervals: quantiles of Student's t, the effective number of sequences, scales, and coverage."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from benchmarks.coverage import coverage
from tests.support.reports import Numbers, report_values, spread_pair, statistics, texts
from torchdivergence import DivergenceReport
from torchdivergence._report.student_t import two_sided_quantile

FREEDOM = [0.5, 0.7, 1, 1.5, 2, 2.3, 3, 4, 7, 15.9, 63, 199.9, 200.1, 1e3, 33_333.3, 1e5, 1e6, 1.1e6]
CONFIDENCE = [0.01, 0.5, 0.9, 0.95, 0.99, 0.9999]


@pytest.mark.parametrize(("confidence", "freedom"), list(itertools.product(CONFIDENCE, FREEDOM)))
def test_quantiles_of_the_t_distribution_equal_those_of_scipy(confidence: float, freedom: float) -> None:
    expected = scipy.stats.t.isf((1 - confidence) / 2, freedom)
    assert math.isclose(two_sided_quantile(confidence, freedom), expected, rel_tol=1e-10)


@pytest.mark.parametrize("freedom", [1e9, 1e300])
def test_many_degrees_of_freedom_give_the_quantile_of_the_normal_distribution(freedom: float) -> None:
    assert two_sided_quantile(0.95, freedom) == pytest.approx(1.959963984540054, rel=1e-8)


def test_a_quantile_without_degrees_of_freedom_is_unknown_and_a_huge_one_infinite() -> None:
    assert math.isnan(two_sided_quantile(0.95, 0)) and math.isnan(two_sided_quantile(0.95, math.nan))
    assert two_sided_quantile(0.95, 1e-6) == math.inf
    for confidence in (math.nextafter(1, 0), math.nextafter(0, 1)):
        assert math.isfinite(two_sided_quantile(confidence, 10))


def on_scale(scale: str, value: float, error: float, t: float) -> tuple[float, float]:
    """The bounds by scipy's functions for the scale."""
    if scale == "log":
        return value * math.exp(-t * error / value), value * math.exp(t * error / value)
    if scale == "logit":
        center, margin = scipy.special.logit(value), t * error / (value * (1 - value))
        return scipy.special.expit(center - margin), scipy.special.expit(center + margin)
    return value - t * error, value + t * error


SCALES = {
    "kl_mean": "log",
    "top_1_agreement": "logit",
    "top_3_agreement": "logit",
    "expected_acceptance": "logit",
    "accuracy_p": "logit",
    "accuracy_q": "logit",
    "accuracy_difference": "linear",
    "both_correct": "logit",
    "worsened": "logit",
    "improved": "logit",
    "both_wrong_differently": "logit",
    "perplexity_p": "log",
    "perplexity_q": "log",
    "perplexity_ratio": "log",
    "perplexity_difference": "linear",
    "log_perplexity_ratio": "linear",
    "delta_p_mean": "linear",
    "delta_p_rms": "log",
}


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_every_mean_of_a_report_has_an_interval_on_its_scale(confidence: float) -> None:
    p, q, target = texts()
    weights = torch.rand(p.shape[:2], generator=torch.Generator().manual_seed(5)) * torch.arange(1, 7)[:, None]
    found = report_values(p, q, target, weights, top_k=[1, 3], confidence=confidence)
    w = weights.double().sum(1).numpy()
    effective = w.sum() ** 2 / (w**2).sum()
    assert 2 < effective < len(w) - 0.5
    t = scipy.stats.t.ppf((1 + confidence) / 2, effective - 1)
    for name, scale in SCALES.items():
        prefix = "kl" if name == "kl_mean" else name
        expected = on_scale(scale, found[name], found[f"{prefix}_clustered_standard_error"], t)
        np.testing.assert_allclose([found[f"{prefix}_lower"], found[f"{prefix}_upper"]], expected, rtol=1e-9)
    assert {name for name in found if name.endswith("_lower")} == {
        "kl_lower" if name == "kl_mean" else f"{name}_lower" for name in SCALES
    }


def test_the_interval_of_a_perplexity_is_that_of_the_loss() -> None:
    p, q, target = texts()
    found = report_values(p, q, target)
    for bound in ("lower", "upper"):
        ratio = found[f"perplexity_ratio_{bound}"]
        assert math.log(ratio) == pytest.approx(found[f"log_perplexity_ratio_{bound}"], rel=1e-9)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_an_interval_grows_with_its_level_and_only_the_linear_one_may_be_negative(scale: Any) -> None:
    p, q = spread_pair()
    found = []
    for confidence in (0.5, 0.9, 0.99):
        metric = statistics(confidence=confidence, interval_scale=scale)
        metric.update(p, q)
        found.append(metric.to_dict())
    assert found[2]["lower"] < found[1]["lower"] < found[0]["lower"] < found[0]["mean"]
    assert found[0]["mean"] < found[0]["upper"] < found[1]["upper"] < found[2]["upper"]
    assert (found[2]["lower"] < 0) == (scale == "linear")


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_a_mean_without_an_error_is_its_own_interval(scale: Any) -> None:
    p, _ = spread_pair()
    metric = statistics(interval_scale=scale)
    metric.update(p, p)
    assert bounds(metric.to_dict()) == [0, 0]


def test_an_agreement_of_all_or_no_rows_has_the_binomial_interval() -> None:
    p = 3 * torch.randn(4, 25, 8, generator=torch.Generator().manual_seed(0))
    for q, rows in ((p, 100), (-p, 0)):
        found = report_values(p, q, confidence=0.9)
        interval = scipy.stats.binomtest(rows, 100).proportion_ci(0.9, method="exact")
        assert found["top_1_agreement_lower"] == pytest.approx(interval.low, rel=1e-12)
        assert found["top_1_agreement_upper"] == pytest.approx(interval.high, rel=1e-12)


def bounds(values: Numbers) -> list[float]:
    return [x for name, x in values.items() if name.endswith(("lower", "upper"))]


def test_a_single_sequence_has_no_interval_and_the_table_says_why() -> None:
    p, q, target = texts()
    report, pair = DivergenceReport(), DivergenceReport()
    report.update(p[:1], q[:1], target[:1])
    pair.update(p[:2], q[:2], target[:2])
    assert all(map(math.isnan, bounds(report.to_dict()))) and all(map(math.isfinite, bounds(pair.to_dict())))
    note = "an interval need at least two sequences"
    assert note in str(report) and note not in str(pair)
    metric = statistics()
    metric.update(p[:1], q[:1])
    assert all(map(math.isnan, bounds(metric.to_dict())))


def test_a_sequence_that_outweighs_all_others_leaves_the_mean_open() -> None:
    p, q, target = texts()
    weights = torch.tensor([1, 1e-12, 1e-12, 0, 0, 0], dtype=torch.float64)[:, None]
    found = report_values(p, q, target, weights)
    assert (found["kl_lower"], found["kl_upper"]) == (0, math.inf)
    assert (found["top_1_agreement_lower"], found["top_1_agreement_upper"]) == (0, 1)
    assert (found["delta_p_mean_lower"], found["delta_p_mean_upper"]) == (-math.inf, math.inf)


@pytest.mark.parametrize(("number", "least"), [(5, 0.91), (8, 0.92), (16, 0.925), (64, 0.93)])
def test_the_default_interval_covers_the_mean_of_lognormal_texts_as_often_as_stated(number: int, least: float) -> None:
    samples = 2_000
    found = coverage(samples, number, 0.0)
    slack = math.sqrt(0.95 * 0.05 / samples)  # one standard error of a share of 95 %
    assert found["*t*, log scale (default)"] > least - slack
    assert found["normal"] < found["*t*, log scale (default)"]
