"""A report as a table, as JSON, and its repr."""

import json
import math

import pytest

from tests.support.reports import texts
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
    lines = {" ".join(line.split()[:-3]): line.split()[-3:] for line in text.splitlines() if len(line.split()) > 3}
    assert float(lines["of p"][0]) == pytest.approx(found["perplexity_p"], rel=1e-3)
    assert float(lines["Same top token, %"][1]) == pytest.approx(
        100 * found["top_1_agreement_standard_error"], rel=0.05
    )
    assert json.loads(report.to_json())["kl_max"] == "inf"
    assert json.loads(report.to_json())["perplexity_p"] == found["perplexity_p"]


def test_the_repr_is_short_and_an_unknown_value_raises_with_the_known_ones() -> None:
    report = DivergenceReport(top_k=[1, 5])
    assert repr(report) == "DivergenceReport(KLDivergence(log_prob=True), top_k=(1, 5), num_classes=None)"
    with pytest.raises(KeyError, match=r"there is no value 'kl_p98'; the values are kl_mean, .*kl_p99"):
        report["kl_p98"]
