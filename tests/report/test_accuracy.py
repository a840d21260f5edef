"""Which of two models is right: shares of rows against counts in plain Python, and McNemar's test against scipy."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.reports import Numbers, report_values, texts
from torchdivergence import DivergenceReport
from torchdivergence._report.accuracy import mcnemar_p_value

CASES = ("both_correct", "worsened", "improved", "both_wrong_differently", "both_wrong_alike")
SHARES = ("accuracy_p", "accuracy_q", *CASES[:4])


def tied_texts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Integer logits, so that many rows have several largest ones: 8 texts of 32 tokens."""
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randint(0, 3, (2, 8, 32, 5), generator=generator).float()
    q = torch.where(torch.rand(8, 32, 1, generator=generator) < 0.5, p, q)
    return p, q, torch.randint(0, 5, (8, 32), generator=generator)


def case_of(p: list[float], q: list[float], target: int) -> str:
    first, second = p.index(max(p)), q.index(max(q))
    if target in (first, second):
        return CASES[0] if first == second else CASES[1] if first == target else CASES[2]
    return CASES[4] if first == second else CASES[3]


def indicators(p: Tensor, q: Tensor, target: Tensor) -> dict[str, Any]:
    """For each case and accuracy, which rows belong to it: 0 or 1, ``[texts, tokens]``."""
    rows = zip(p.flatten(0, 1).tolist(), q.flatten(0, 1).tolist(), target.flatten().tolist(), strict=True)
    cases = np.array([case_of(*row) for row in rows]).reshape(target.shape)
    found = {case: (cases == case).astype(float) for case in CASES}
    found["accuracy_p"], found["accuracy_q"] = (found["both_correct"] + found[x] for x in ("worsened", "improved"))
    return found | {"accuracy_difference": found["improved"] - found["worsened"]}


def estimate(values: Any, weights: Any) -> tuple[float, float, float]:
    """A weighted mean and its standard errors, over rows and clustered by text."""
    kept = weights > 0
    mean = (values * weights).sum() / weights.sum()
    deviations = (values - mean) * weights
    squares = [(kept.sum(), (deviations**2).sum()), (kept.any(1).sum(), (deviations.sum(1) ** 2).sum())]
    row, cluster = (math.sqrt(n / (n - 1) * square) / weights.sum() for n, square in squares)
    return mean, row, cluster


def numbers(found: Numbers, name: str) -> list[float]:
    return [found[name], found[f"{name}_standard_error"], found[f"{name}_clustered_standard_error"]]


@pytest.mark.parametrize("kind", ["all rows", "weights", "ignored targets"])
def test_shares_and_their_errors_equal_those_of_counts_in_plain_python(kind: str) -> None:
    p, q, target = tied_texts()
    expected, weights, given = indicators(p, q, target), torch.ones(8, 32, dtype=torch.float64), target.clone()
    if kind == "weights":
        weights = torch.rand(8, 32, generator=torch.Generator().manual_seed(1)).double()
        weights[:, ::3] = 0
        weights[5] = 0
    elif kind == "ignored targets":
        given[2, 5:] = -100
        weights[2, 5:] = 0
    found = report_values(p, q, given, *([weights] if kind == "weights" else []))
    assert all(expected[case].sum() > 3 for case in CASES)
    for name in (*SHARES, "accuracy_difference"):
        np.testing.assert_allclose(numbers(found, name), estimate(expected[name], weights.numpy()), rtol=1e-9)
    kept = weights.numpy() > 0
    improved, worsened = (int(expected[name][kept].sum()) for name in ("improved", "worsened"))
    p_value = scipy.stats.binomtest(improved, improved + worsened).pvalue
    assert found["mcnemar_p_value"] == pytest.approx(p_value, rel=1e-12)


def test_shares_add_up_exactly() -> None:
    p, q, target = tied_texts()
    found = report_values(p, q, target)  # 256 rows: every share is a float64
    alike = indicators(p, q, target)["both_wrong_alike"].mean()
    assert found["accuracy_difference"] == found["accuracy_q"] - found["accuracy_p"]
    assert found["accuracy_difference"] == found["improved"] - found["worsened"] != 0
    assert found["accuracy_p"] == found["both_correct"] + found["worsened"]
    assert found["accuracy_q"] == found["both_correct"] + found["improved"]
    assert sum(found[case] for case in CASES[:4]) + alike == 1
    assert found["both_correct"] + alike == found["top_1_agreement"]


def test_exchanged_models_exchange_their_values() -> None:
    p, q, target = tied_texts()
    found, other = report_values(p, q, target), report_values(q, p, target)
    for name, exchanged in {"accuracy_p": "accuracy_q", "improved": "worsened"}.items():
        assert numbers(found, name) == numbers(other, exchanged)
    for name in ("both_correct", "both_wrong_differently", "mcnemar_p_value"):
        assert found[name] == other[name]
    assert found["accuracy_difference_lower"] == -other["accuracy_difference_upper"]


def test_a_model_is_neither_better_nor_worse_than_itself() -> None:
    p, _, target = tied_texts()
    found = report_values(p, p, target)
    assert found["worsened"] == found["improved"] == found["accuracy_difference"] == 0
    assert found["mcnemar_p_value"] == 1


@pytest.mark.parametrize("policy", ["omit", "propagate"])
def test_invalid_rows_are_not_counted(policy: Any) -> None:
    p, q, target = tied_texts()
    broken = q.clone()
    broken[:4, ::2] = math.nan
    found = report_values(p, broken, target, nan_policy=policy)
    if policy == "propagate":
        assert math.isnan(found["mcnemar_p_value"]) and math.isnan(found["accuracy_q"])
    else:
        expected = report_values(p, q, target, ~broken.isnan().any(-1))
        assert [found[x] for x in (*SHARES, "mcnemar_p_value")] == [expected[x] for x in (*SHARES, "mcnemar_p_value")]


COUNTS = [
    *[(0, 1), (0, 5), (3, 9), (10, 10), (10, 11), (250, 180), (400, 520), (0, 1070), (0, 3000), (2000, 100)],
    *[(500_000, 502_000), (7, 1_000), (10_000_000, 10_009_000), (500_000_000, 500_050_000)],
]


@pytest.mark.parametrize(("first", "second"), COUNTS)
def test_the_p_value_equals_that_of_the_exact_binomial_test(first: int, second: int) -> None:
    n = first + second
    error = 1e-12 + 2**-52 * math.lgamma(n + 1)  # rounding of the logarithms of factorials
    for found in (mcnemar_p_value(first, second), mcnemar_p_value(second, first)):
        expected = min(1, 2 * scipy.stats.binom.cdf(min(first, second), n, 0.5))
        assert found == pytest.approx(expected, rel=error, abs=1e-323)
        if n < 10_000_000:
            assert found == pytest.approx(scipy.stats.binomtest(first, n).pvalue, rel=error, abs=1e-323)


def test_without_worsened_and_improved_rows_the_p_value_is_1() -> None:
    assert mcnemar_p_value(0, 0) == 1


class CallsOfMax(TorchDispatchMode):
    """Counts the searches for the largest class."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func in (torch.ops.aten.max.dim, torch.ops.aten.argmax.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("with_target", [True, False])
@pytest.mark.parametrize("top_k", [[1, 3], [3]])
def test_the_most_likely_classes_come_from_the_pass_that_computes_the_divergence(
    top_k: list[int], with_target: bool
) -> None:
    p, q, target = tied_texts()
    report = DivergenceReport(top_k=top_k)
    with CallsOfMax() as counted:
        report.update(p, q, target if with_target else None)
    assert counted.calls == 0


def test_values_and_their_part_of_the_table_need_targets() -> None:
    p, q, target = texts()
    report = DivergenceReport()
    report.update(p, q)
    assert "McNemar" not in str(report) and not {*SHARES, "mcnemar_p_value"} & {*report.compute(), *report.keys()}
    report.update(p, q, target)
    found, text = report.to_dict(), str(report)
    assert {*SHARES, "mcnemar_p_value"} <= {*report.compute(), *report.keys()}
    section = text.split("Top token is the target, %")[1].split("Perplexity")[0].strip("\n").splitlines()
    names = ["accuracy_p", "accuracy_q", "accuracy_difference", *CASES[:4]]
    for line, name in zip(section[:-1], names, strict=True):
        shown = [float(x) for x in line.split()[-5:]]
        bounds = [found[f"{name}_{bound}"] for bound in ("lower", "upper")]
        assert shown == pytest.approx([100 * x for x in (*numbers(found, name), *bounds)], rel=0.05)
    assert float(section[-1].split()[-1]) == pytest.approx(found["mcnemar_p_value"], rel=1e-3)
    assert "McNemar's test assumes independent rows" in text
    assert float(report["mcnemar_p_value"]) == found["mcnemar_p_value"]
