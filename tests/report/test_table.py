"""A report as a table, as JSON, and its repr."""

import json
import math

import pytest
import torch

from tests.support.reports import statistics, texts
from torchdivergence import DivergenceReport


def test_the_table_and_the_json_have_the_values_of_compute() -> None:
    p, q, target = texts()
    report = DivergenceReport(nan_policy="omit")
    q[0, 0, 0] = -math.inf
    q[1, 0, 0] = math.nan
    report.update(p, q, target)
    found, text = report.to_dict(), str(report)
    assert text.startswith(
        "239 rows in 6 sequences, candidate q against reference p; 1 of infinite divergence; 1 invalid"
    )
    lines = {" ".join(line.split()[:-5]): line.split()[-5:] for line in text.splitlines() if len(line.split()) > 5}
    assert float(lines["of p"][0]) == pytest.approx(found["perplexity_p"], rel=1e-3)
    assert float(lines["Same top token, %"][1]) == pytest.approx(
        100 * found["top_1_agreement_standard_error"], rel=0.05
    )
    assert float(lines["Expected acceptance, %"][0]) == pytest.approx(100 * found["expected_acceptance"], rel=1e-3)
    bounds = [found["perplexity_p_lower"], found["perplexity_p_upper"]]
    assert [float(x) for x in lines["of p"][3:]] == pytest.approx(bounds, rel=1e-2)
    assert json.loads(report.to_json())["kl_max"] == "inf"
    assert json.loads(report.to_json())["perplexity_p"] == found["perplexity_p"]


def test_the_repr_is_short_and_an_unknown_value_raises_with_the_known_ones() -> None:
    report = DivergenceReport(top_k=[1, 5], ignore_index=0, keep_sequences=True, worst=3)
    kept = "ignore_index=0, keep_sequences=True, worst=3"
    assert repr(report) == f"DivergenceReport(KLDivergence(log_prob=True), top_k=(1, 5), num_classes=None, {kept})"
    with pytest.raises(KeyError, match=r"there is no value 'kl_p98'; the values are kl_mean, .*kl_p99"):
        report["kl_p98"]


def test_the_table_has_the_default_quantiles_in_descending_order() -> None:
    report = DivergenceReport()
    report.update(*texts())
    sections = str(report).split("Δp of the target token")
    expected = ["99.9 %", "99 %", "95 %", "90 %", "75 %", "median", "25 %", "10 %", "5 %", "1 %", "0.1 %"]
    for section in sections:
        names = [
            " ".join(line.split()[:2]) if "%" in line else line.split()[0] for line in section.splitlines() if line
        ]
        assert [name for name in names if name in expected] == expected


def marked(report: DivergenceReport) -> list[str]:
    """The lines of the table that are marked as rough."""
    return [" ".join(line.split()[:-2]) for line in str(report).splitlines() if line.endswith("rough")]


def test_quantiles_with_fewer_than_100_rows_beyond_them_are_marked_as_rough() -> None:
    p, q = torch.randn(2, 1000, 4, generator=torch.Generator().manual_seed(0))
    tails = statistics(quantiles=[0.1, 0.95])
    report = DivergenceReport(quantiles=[0.05, 0.1, 0.5, 0.9, 0.95])
    for rows, kl, levels in ((slice(0, 999), {"p5", "p10", "p90", "p95"}, 4), (slice(999, 1000), {"p5", "p95"}, 2)):
        report.update(p[rows], q[rows])
        tails.update(p[rows], q[rows])
        rough = json.loads(report.to_json())["rough"]
        assert set(rough) == {f"kl_{name}" for name in kl} and len(marked(report)) == levels
        assert json.loads(tails.to_json())["rough"] == [name for name in ("p10", "p95") if name in kl]
    assert "fewer than 100 rows" in str(report)
    report.update(p[:300], q[:300], torch.zeros(300, dtype=torch.long))
    assert "delta_p_p90" in report.rough_values() and "kl_p90" not in report.rough_values()
    p, q = torch.randn(2, 2000, 4)
    report.update(p, q, torch.zeros(2000, dtype=torch.long))
    assert not report.rough_values() and "rough" not in str(report)
