"""Wrong arguments of reports and statistics raise clear errors and change nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.reports import CLASSES, TEXTS, TOKENS, spread_pair, statistics, texts
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        (torch.zeros(TEXTS, TOKENS), TypeError, "integers, the index of a class for each row, but got torch.float32"),
        (torch.zeros(TEXTS, TOKENS - 1, dtype=torch.long), ValueError, r"logits\[:, :-1\] go with ids\[:, 1:\]"),
        (torch.full((TEXTS, TOKENS), CLASSES), ValueError, "from 0 to 29, or ignore_index=-100, but got 30"),
    ],
)
def test_an_invalid_target_is_refused_and_changes_nothing(target: Tensor, error: type[Exception], text: str) -> None:
    p, q, _ = texts()
    report = DivergenceReport()
    report.update(p, q)
    before = report.to_dict()
    with pytest.raises(error, match=text):
        report.update(p, q, target)
    assert report.to_dict() == before


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"metric": torch.nn.Linear(2, 2)}, TypeError, r"of torchdivergence, such as KLDivergence\(\), but got Linear"),
        ({"metric": KLDivergence(reduction="sum")}, ValueError, "must be 'mean', but got 'sum'"),
        ({"metric": KLDivergence(), "quantiles": [50]}, ValueError, "below 1, but got 50"),
        ({"metric": KLDivergence(), "confidence": 1}, ValueError, "confidence must be above 0 and below 1"),
        ({"metric": KLDivergence(), "interval_scale": "logit"}, ValueError, "interval_scale must be one of 'log'"),
    ],
)
def test_invalid_settings_of_statistics_are_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        DivergenceStatistics(**arguments)


def test_a_batch_refused_by_statistics_changes_nothing() -> None:
    p, q = spread_pair()
    metric = statistics()
    metric.update(p, q)
    before = metric.to_dict()
    with pytest.raises(ValueError, match="same shape"):
        metric.update(p, q[..., :-1])
    assert metric.to_dict() == before
    assert metric.update_count == 1


@pytest.mark.parametrize(
    "settings", [{"num_classes": 0}, {"num_classes": -1}, {"num_classes": True}, {"num_classes": 2.5}]
)
def test_num_classes_must_be_a_positive_integer(settings: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match="num_classes must be"):
        DivergenceReport(**settings)


def test_lists_are_refused_also_if_num_classes_is_given() -> None:
    with pytest.raises(TypeError, match="p must be a tensor, but got list"):
        DivergenceReport(num_classes=2).update([[0.0, 1.0]], torch.zeros(1, 2))  # type: ignore[arg-type]


def test_quantiles_with_the_same_name_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in their first ten digits"):
        statistics(quantiles=[0.12345678901, 0.12345678902])


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_the_confidence_of_a_report_must_be_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be above 0 and below 1"):
        DivergenceReport(confidence=confidence)


def test_a_report_without_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="compute_with_cache must be True"):
        DivergenceReport(compute_with_cache=False)
