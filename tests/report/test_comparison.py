"""The paired comparison of two reports: against scipy, its laws, and its table."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.support.reports import TEXTS, TOKENS, Numbers, kept_report, other_candidate, texts
from torchdivergence import DivergenceReport

P, Q, TARGET = texts()
BETTER = P + 0.8 * (Q - P)
OTHER = other_candidate()
KEYS = torch.arange(TEXTS) * 7
NAMES = {
    "kl_mean": "divergence",
    "top_1_agreement": "top_1_agreement",
    "expected_acceptance": "expected_acceptance",
    "accuracy_q": "accuracy_q",
    "both_correct": "both_correct",
    "worsened": "worsened",
    "improved": "improved",
    "log_perplexity_q": "loss_q",
    "log_perplexity_ratio": "log_ratio",
    "delta_p_mean": "delta_p",
}


def numbers(report: DivergenceReport, column: str) -> Any:
    """The mean of a column over each sequence, in the order of the keys."""
    kept = report.sequence_sums()
    return (kept.sums[column] / kept.weights).numpy()


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_texts_of_equal_length_give_the_paired_t_test_of_scipy(confidence: float) -> None:
    a, b = kept_report(P, Q, TARGET), kept_report(P, OTHER, TARGET)
    found = a.compare(b, confidence=confidence)
    for name, column in NAMES.items():
        x, y = numbers(a, column), numbers(b, column)
        expected, d = scipy.stats.ttest_rel(y, x), found.differences[name]
        interval = expected.confidence_interval(confidence)
        np.testing.assert_allclose(
            [d.difference, d.lower, d.upper, d.p_value, d.standard_error],
            [(y - x).mean(), interval.low, interval.high, expected.pvalue, scipy.stats.sem(y - x)],
            rtol=1e-9,
        )
        np.testing.assert_allclose(d.unpaired_standard_error, math.hypot(scipy.stats.sem(x), scipy.stats.sem(y)))
    assert {*NAMES, "delta_p_rms"} == found.differences.keys()


def weights_of_texts() -> Tensor:
    weights = torch.rand(TEXTS, TOKENS, generator=torch.Generator().manual_seed(1)).double()
    for text in range(TEXTS):
        weights[text, 5 * (text + 1) :] = 0
    return weights


def mean_and_error(values: Numbers, name: str) -> tuple[float, float]:
    """A mean in a report and its clustered standard error."""
    if name == "log_perplexity_q":
        perplexity = values["perplexity_q"]
        return math.log(perplexity), values["perplexity_q_clustered_standard_error"] / perplexity
    return values[name], values[f"{'kl' if name == 'kl_mean' else name}_clustered_standard_error"]


def test_texts_of_different_length_have_the_means_and_errors_of_their_reports() -> None:
    weights = weights_of_texts()
    a, b = kept_report(P, Q, TARGET, weights), kept_report(P, OTHER, TARGET, weights)
    found, first, second = a.compare(b), a.to_dict(), b.to_dict()
    for name in (*NAMES, "delta_p_rms"):
        d, values = found.differences[name], [mean_and_error(x, name) for x in (first, second)]
        np.testing.assert_allclose([d.a, d.b], [values[0][0], values[1][0]], rtol=1e-12)
        np.testing.assert_allclose(d.difference, values[1][0] - values[0][0], rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(d.unpaired_standard_error, math.hypot(values[0][1], values[1][1]), rtol=1e-9)
        t = scipy.stats.t.ppf(0.975, found.effective_sequences - 1)
        np.testing.assert_allclose(
            [d.lower, d.upper], [d.difference - t * d.standard_error, d.difference + t * d.standard_error]
        )
    w = weights.sum(1).numpy()
    assert found.effective_sequences == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_the_error_of_a_root_mean_square_is_that_of_numerical_differentiation() -> None:
    weights = weights_of_texts()
    a, b = kept_report(P, Q, TARGET, weights), kept_report(P, OTHER, TARGET, weights)
    (_, w, x), (_, _, y) = (
        (k, n.numpy(), s["delta_p_squared"].numpy()) for k, n, s in (a.sequence_sums(), b.sequence_sums())
    )

    def difference(share: Any) -> float:
        return math.sqrt((share * y).sum() / (share * w).sum()) - math.sqrt((share * x).sum() / (share * w).sum())

    steps = 1e-6 * np.eye(len(w))
    influence = np.array([(difference(1 + step) - difference(1 - step)) / 2e-6 for step in steps])
    n = len(w)
    d = a.compare(b).differences["delta_p_rms"]
    assert d.standard_error == pytest.approx(math.sqrt(n / (n - 1) * (influence**2).sum()), rel=1e-6)


SPLITS: dict[str, Callable[[DivergenceReport], DivergenceReport]] = {
    "one by one": lambda _: kept_report(P, OTHER, TARGET, batches=[[i] for i in range(TEXTS)]),
    "reversed": lambda _: kept_report(P, OTHER, TARGET, batches=[[5, 4], [3, 2, 1, 0]]),
    "merged": lambda _: merged(),
    "padded": lambda _: kept_report(*padded(P, OTHER), torch.nn.functional.pad(TARGET, (3, 2), value=-100)),
    "double steps": lambda _: stepped(),
}


def merged() -> DivergenceReport:
    whole, part = (
        kept_report(P, OTHER, TARGET, batches=[[4, 1]]),
        kept_report(P, OTHER, TARGET, batches=[[0], [5, 2, 3]]),
    )
    whole.merge_state(part)
    return whole


def padded(*logits: Tensor) -> list[Tensor]:
    return [torch.nn.functional.pad(x, (0, 0, 3, 2)) for x in logits]


def stepped() -> DivergenceReport:
    report = DivergenceReport(keep_sequences=True)
    for text in (3, 1, 2, 5, 0, 4):
        report(P[[text]], OTHER[[text]], TARGET[[text]])
    return report


@pytest.mark.parametrize("split", SPLITS)
def test_order_batch_size_padding_and_merging_do_not_change_a_bit(split: str) -> None:
    a, b = kept_report(P, Q, TARGET), kept_report(P, OTHER, TARGET)
    other = SPLITS[split](b)
    assert a.compare(other) == a.compare(b)
    assert a.compare(other).to_json() == a.compare(b).to_json()
    for found, expected in zip(other.sequence_sums()[:2], b.sequence_sums()[:2], strict=True):
        assert torch.equal(found, expected)


def test_exchanged_reports_exchange_their_values() -> None:
    a, b = kept_report(P, Q, TARGET), kept_report(P, OTHER, TARGET)
    for name, d in a.compare(b).differences.items():
        other = b.compare(a).differences[name]
        assert (other.a, other.b, other.difference, other.lower, other.upper) == (
            d.b,
            d.a,
            -d.difference,
            -d.upper,
            -d.lower,
        )
        assert other[3:5] == d[3:5] and other.p_value == d.p_value
        assert other.verdict == {"a": "b", "b": "a"}.get(d.verdict, d.verdict)


@pytest.mark.parametrize("policy", ["propagate", "omit"])
def test_an_invalid_row_makes_a_comparison_nan_or_is_left_out_of_both(policy: Any) -> None:
    broken = [x.clone() for x in (Q, OTHER)]
    for x in broken:
        x[2, 3:5] = math.nan
    a, b = (kept_report(P, x, TARGET, nan_policy=policy) for x in broken)
    found = a.compare(b)
    if policy == "propagate":
        assert all(math.isnan(x) for d in found.differences.values() for x in d[:9])
        assert {d.verdict for d in found.differences.values()} == {"undecided"}
    else:
        weights = ~broken[0].isnan().any(-1)
        a, b = (kept_report(P, x, TARGET, weights, KEYS) for x in (Q, OTHER))
        assert found == a.compare(b)


@pytest.mark.parametrize("texts_of_a", [[], [1], [1, 4]])
def test_an_infinite_mean_has_no_error_and_no_verdict(texts_of_a: list[int]) -> None:
    first, second = Q.clone(), OTHER.clone()
    first[texts_of_a, 2, 1:] = -math.inf
    second[3, 2, 1:] = -math.inf
    d = kept_report(P, first, TARGET).compare(kept_report(P, second, TARGET)).differences["kl_mean"]
    assert d.b == math.inf and (d.a == math.inf) == bool(texts_of_a)
    assert math.isnan(d.difference) if texts_of_a else d.difference == math.inf
    assert all(map(math.isnan, d[3:9])) and d.verdict == "undecided"


def test_a_single_pair_has_a_difference_without_error() -> None:
    d = (
        kept_report(P, Q, TARGET, batches=[[0]])
        .compare(kept_report(P, OTHER, TARGET, batches=[[0]]))
        .differences["kl_mean"]
    )
    assert math.isfinite(d.difference) and all(map(math.isnan, d[3:9])) and d.verdict == "undecided"


def test_the_table_shows_every_difference_and_the_dict_and_json_have_every_number() -> None:
    found = kept_report(P, Q, TARGET).compare(kept_report(P, BETTER, TARGET), labels=("old", "new"))
    lines, values = str(found).splitlines(), found.to_dict()
    assert lines[0] == "6 pairs of sequences, a: old, b: new" and lines[2].split()[:5] == ["a", "b", "b", "-", "a"]
    for line, (name, d) in zip(lines[3:], found.differences.items(), strict=False):
        cells, scale = line.split("  "), 1 if name.startswith(("kl_", "log_")) else 100
        shown = [float("nan" if x.strip() == "-" else x.replace(",", "")) for x in cells[1:-1] if x]
        expected = [scale * x for x in d[:7]] + [d.p_value, d.texts_needed]
        assert shown == pytest.approx(expected, rel=0.1, abs=0.02 * scale * d.standard_error, nan_ok=True)
        assert cells[-1].strip() == d.verdict
        assert [values[f"{name}_{field}"] for field in d._fields] == pytest.approx(list(d), nan_ok=True)
    assert "b" in {d.verdict for d in found.differences.values()}
    loaded = json.loads(found.to_json())
    assert loaded["label_b"] == "new" and loaded["sequences"] == 6 and loaded["kl_mean_verdict"] == "b"
    assert {type(x) for x in loaded.values()} <= {str, float, int, bool}


@pytest.mark.parametrize("opposite", [False, True])
def test_the_gain_from_pairing_is_printed_if_there_is_one(opposite: bool) -> None:
    sizes = torch.linspace(0.5, 1.5, TEXTS)[:, None, None]
    a, b = (kept_report(P, P + size * (Q - P), TARGET) for size in (sizes, sizes.flip(0) if opposite else 0.9 * sizes))
    found = a.compare(b)
    kl = found.differences["kl_mean"]
    assert (kl.standard_error > kl.unpaired_standard_error) == opposite
    assert ("Pairing divides the error" in str(found)) != opposite


def test_the_plot_shows_every_difference() -> None:
    found = kept_report(P, Q, TARGET).compare(kept_report(P, BETTER, TARGET))
    figure, ax = found.plot()
    figure.canvas.draw()
    assert len(ax.get_yticklabels()) == len(found.differences)
    assert found.plot(ax)[1] is ax
