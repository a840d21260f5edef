"""Which reports are not compared, and what the errors say."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.reports import TEXTS, kept_report, texts
from torchdivergence import DivergenceReport

P, Q, TARGET = texts()


KEYS = torch.arange(TEXTS) * 7
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "other keys": (
        lambda: kept_report(P, Q, TARGET, torch.ones(TEXTS, 1), KEYS + 7),
        "'b' lacks the key 0, and 'a' lacks the key 42",
    ),
    "fewer keys": (lambda: kept_report(*sides(), batches=[[1, 2, 3, 4, 5]]), r"but 'b' lacks the key 0\.$"),
    "many other keys": (
        lambda: kept_report(*sides()[:4], KEYS + 1),
        "'b' lacks 6 keys, such as 0, 7, 14, and 'a' lacks 6 keys, such as 1, 8, 15",
    ),
    "duplicate keys": (
        lambda: kept_report(*sides(), batches=[[0, 1], [1, 2], [3, 4, 5]]),
        "'b' repeats the key 7: pass keys to update",
    ),
    "other weights": (
        lambda: kept_report(P, Q, TARGET, torch.tensor([1.0, 1, 1, 2, 1, 1])[:, None], KEYS),
        r"same weight .* but the weights differ for the key 21: update both",
    ),
    "a temperature": (lambda: kept_report(*sides(), temperature=2.0), "temperature is 1.0 in 'a' and 2.0 in 'b'"),
    "several settings": (
        lambda: kept_report(*sides(), top_k=[1, 2], num_classes=30),
        r"top_k is \[1\] in 'a' and \[1, 2\] in 'b'; num_classes is None in 'a' and 30 in 'b'",
    ),
    "probabilities": (
        lambda: kept_report(P.softmax(-1), Q.softmax(-1), *sides()[2:], log_prob=False),
        r"log_prob is \[True, True\] in 'a' and \[False, False\] in 'b'",
    ),
    "a report of fixed size": (lambda: kept_report(*sides(), keep_sequences=False), "missing in 'b': create both"),
    "a row that is invalid in one": (
        lambda: kept_report(P, with_nan(2, 3), *sides()[2:]),
        r"differ for the key 14\. Invalid rows do not count, and there are 1 in 'b': give them weight 0",
    ),
    "a sequence that is invalid in one": (
        lambda: kept_report(P, with_nan(2), *sides()[2:], nan_policy="omit"),
        r"but 'b' lacks the key 14\. Invalid rows do not count, and there are 40 in 'b'",
    ),
    "targets in some updates": (
        lambda: with_and_without_target(),
        "in every update or in none, but in 'b' there are none for the keys 21, 28, 35",
    ),
}


def with_nan(*place: int) -> Tensor:
    q = Q.clone()
    q[place] = math.nan
    return q


def with_and_without_target() -> DivergenceReport:
    report = kept_report(*sides(), batches=[[0, 1, 2]])
    report.update(P[3:], Q[3:], keys=KEYS[3:])
    return report


def sides() -> tuple[Tensor, ...]:
    return P, Q, TARGET, torch.ones(TEXTS, 1), KEYS


@pytest.mark.parametrize("name", REFUSED)
def test_reports_that_cannot_be_paired_are_refused_with_the_reason(name: str) -> None:
    make, text = REFUSED[name]
    a, b = kept_report(*sides()), make()
    with pytest.raises(ValueError, match=text):
        a.compare(b)


def test_an_empty_report_and_another_metric_are_refused() -> None:
    empty = DivergenceReport(keep_sequences=True)
    with pytest.raises(ValueError, match="both reports are empty"), pytest.warns(UserWarning, match="compute"):
        empty.compare(empty)
    with pytest.raises(TypeError, match="another DivergenceReport, but got dict"):
        empty.compare({})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"labels": "ab"}, TypeError, "labels must be two strings"),
        ({"labels": ("a", "b", "c")}, TypeError, "labels must be two strings"),
        ({"power": 1}, ValueError, "power must be above 0 and below 1"),
        ({"power": 0.01}, ValueError, "power must be at least 0.5, but got 0.01"),
        ({"labels": None}, TypeError, "labels must be two strings"),
        ({"labels": ("x", "x")}, ValueError, "labels must differ, but both are 'x'"),
        ({"confidence": 95}, ValueError, "confidence must be above 0 and below 1"),
        ({"sequential": 1}, TypeError, "sequential must be True or False"),
    ],
)
def test_wrong_arguments_of_a_comparison_are_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    a = kept_report(P, Q, TARGET)
    with pytest.raises(error, match=text):
        a.compare(a, **arguments)
