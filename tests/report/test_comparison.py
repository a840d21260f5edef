"""The paired comparison of two reports: against scipy, its laws, what it refuses, and its table."""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from tests.support.reports import TEXTS, TOKENS, Numbers, kept_report, texts
from torchdivergence import DivergenceReport

P, Q, TARGET = texts()
BETTER = P + 0.8 * (Q - P)
OTHER = texts(noise=0.31, seed=3)[1] - texts(seed=3)[0] + P
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


def test_a_report_does_not_differ_from_itself() -> None:
    a = kept_report(P, Q, TARGET)
    for d in a.compare(a).differences.values():
        assert d.difference == d.standard_error == 0
        assert all(map(math.isnan, (d.lower, d.upper, d.p_value, d.texts_needed))) and d.verdict == "undecided"


def worsened_evenly(lengths: list[int], period: int) -> tuple[DivergenceReport, DivergenceReport]:
    """Two reports on texts of these lengths. In each the first of so many rows is worsened in b, and none in a."""
    a, b = DivergenceReport(keep_sequences=True), DivergenceReport(keep_sequences=True)
    for key, length in enumerate(lengths):
        target, right, wrong = torch.zeros(1, length, dtype=torch.long), torch.tensor([2.0, 0]), torch.tensor([0, 2.0])
        p = right.expand(1, length, 2)
        q = torch.where((torch.arange(length) % period == 0)[:, None], wrong, p)
        a.update(p, p, target, keys=torch.tensor([key]))
        b.update(p, q, target, keys=torch.tensor([key]))
    return a, b


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("period", [4, 49])  # in float64, 49 times 1 / 49 is not 1
@pytest.mark.parametrize("times", [[1, 1], [1, 3, 7, 21], [2] * 20], ids=["two", "unequal", "many"])
def test_a_difference_without_variation_has_neither_interval_nor_p_value_nor_verdict(
    times: list[int], period: int, sequential: bool
) -> None:
    a, b = worsened_evenly([period * x for x in times], period)
    found = a.compare(b, sequential=sequential)
    d = found.differences["accuracy_q"]
    assert d.difference == pytest.approx(-1 / period) and d.standard_error == 0
    assert all(map(math.isnan, (d.lower, d.upper, d.p_value, d.texts_needed))) and d.verdict == "undecided"
    assert "standard error of 0 has no interval" in str(found)


@pytest.mark.parametrize("size", [1e160, 1e-200, 1e-300, 2.0**1000, 2.0**-1000])
@pytest.mark.parametrize("sequential", [False, True])
def test_the_size_of_the_weights_does_not_matter(size: float, sequential: bool) -> None:
    ones, weights = (torch.full((TEXTS, 1), x, dtype=torch.float64) for x in (1.0, size))
    expected, found = (
        kept_report(P, Q, TARGET, w).compare(kept_report(P, OTHER, TARGET, w), sequential=sequential)
        for w in (ones, weights)
    )
    for name, d in expected.differences.items():
        assert list(found.differences[name][:9]) == pytest.approx(list(d[:9]), rel=1e-12, nan_ok=True)
        assert found.differences[name].verdict == d.verdict
    assert found.effective_sequences == pytest.approx(TEXTS)


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_sums_outside_the_range_of_float64_have_no_error_and_no_verdict(size: float) -> None:
    weights = torch.full((TEXTS, 1), size, dtype=torch.float64)
    d = kept_report(P, Q, TARGET, weights).compare(kept_report(P, OTHER, TARGET, weights)).differences["kl_mean"]
    if size > 1:
        assert all(map(math.isnan, d[3:9])) and d.verdict == "undecided"
    else:
        assert all(map(math.isfinite, d[:2]))


@pytest.mark.parametrize("name", ["kl_mean", "top_1_agreement", "log_perplexity_ratio", "delta_p_rms"])
def test_the_candidate_with_less_noise_is_better(name: str) -> None:
    p = P.repeat(8, 1, 1) + torch.arange(8 * TEXTS)[:, None, None] % 7 * torch.linspace(0, 0.1, P.shape[-1])
    noise, keys = torch.randn(p.shape, generator=torch.Generator().manual_seed(4)), torch.arange(len(p))
    a, b = (kept_report(p, p + size * noise, p.argmax(-1), torch.ones(len(p), 1), keys) for size in (0.5, 0.35))
    assert a.compare(b).differences[name].verdict == "b"
    assert b.compare(a).differences[name].verdict == "a"


BETTER_IF = {
    "kl_mean": "lower",
    "top_1_agreement": "higher",
    "top_3_agreement": "higher",
    "expected_acceptance": "higher",
    "accuracy_q": "higher",
    "both_correct": "higher",
    "worsened": "lower",
    "improved": "higher",
    "log_perplexity_q": "lower",
    "log_perplexity_ratio": "lower",
    "delta_p_mean": "higher",
    "delta_p_rms": "lower",
}


def test_the_better_of_two_means_is_the_lower_or_the_higher_one() -> None:
    """For each value there are two candidates with a significant difference, so the verdict follows from its sign."""
    generator, decided = torch.Generator().manual_seed(6), set[str]()
    p = 2 * torch.randn(200, 8, 6, generator=generator)
    target = p.argmax(-1).where(torch.rand(200, 8, generator=generator) < 0.6, 0)
    noise, keys = torch.randn(p.shape, generator=generator), torch.arange(200)
    to_target = torch.nn.functional.one_hot(target, 6)
    candidates = [p + noise, p + 0.5 * noise, p + 0.5 * noise + to_target, p + 0.5 * noise - to_target]
    reports = [kept_report(p, q, target, torch.ones(200, 1), keys, top_k=[1, 3]) for q in candidates]
    for a, b in itertools.combinations(reports, 2):
        for name, d in a.compare(b).differences.items():
            if abs(d.difference) > 5 * d.standard_error:
                decided.add(name)
                assert d.verdict == ("b" if (d.b > d.a) == (BETTER_IF[name] == "higher") else "a"), name
    assert decided == BETTER_IF.keys()


def test_references_of_their_own_give_differences_of_the_candidates_alone() -> None:
    a, b = kept_report(P, Q, TARGET), kept_report(OTHER, BETTER, TARGET)
    assert (
        a.compare(b).differences["log_perplexity_q"]
        == kept_report(BETTER, Q, TARGET).compare(b).differences["log_perplexity_q"]
    )
    ratio = a.compare(b).differences["log_perplexity_ratio"].difference
    assert abs(ratio - a.compare(b).differences["log_perplexity_q"].difference) > 1e-3


def test_more_texts_of_the_same_unequal_weights_are_taken_to_have_the_same_effective_share() -> None:
    weights = torch.tensor([9.0, 1, 1, 1, 1, 1])[:, None]
    a, b = (kept_report(P, x, TARGET, weights, KEYS) for x in (Q, Q + 0.05 * (OTHER - P)))
    found = a.compare(b)
    share = found.effective_sequences / TEXTS
    assert share < 0.5
    known = [d for d in found.differences.values() if 2 < d.texts_needed < math.inf]
    assert len(known) > 3
    for d in known:
        t = abs(d.difference / d.standard_error)
        for number, detected in ((d.texts_needed - 1, False), (d.texts_needed, True)):
            needed = sum(scipy.stats.t.ppf(x, number * share - 1) for x in (0.975, 0.8))
            assert (needed <= t * math.sqrt(number / TEXTS)) == detected


@pytest.mark.parametrize("power", [0.5, 0.8, 0.9, 0.99])
def test_the_power_at_the_needed_number_of_texts_is_the_one_asked_for(power: float) -> None:
    noise = 0.05 * torch.randn(P.shape, generator=torch.Generator().manual_seed(5))
    found = kept_report(P, Q, TARGET).compare(kept_report(P, Q + noise, TARGET), power=power)
    known = [d for d in found.differences.values() if d.texts_needed >= 8]
    assert len(known) > 3
    for d in known:
        reached = []
        for number in (d.texts_needed - 1, d.texts_needed):
            center = abs(d.difference / d.standard_error) * math.sqrt(number / TEXTS)
            reached.append(scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, number - 1), number - 1, center))
        assert reached[1] > power - 0.005
        assert reached[0] < power + 0.005 or power not in (0.8, 0.9)  # for others the number is too large


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


@pytest.mark.parametrize(
    ("keys", "error", "text"),
    [
        (torch.zeros(TEXTS), TypeError, "tensor of integers, one for each sequence, but got torch.float32"),
        ([1, 2], TypeError, "but got list"),
        (torch.arange(TEXTS - 1), ValueError, r"each of the 6 sequences along the first dimension of p, .* are \(5,\)"),
        (torch.zeros(TEXTS, TOKENS, dtype=torch.long), ValueError, r"are \(6, 40\)"),
        (None, ValueError, "pass target, or pass keys"),
    ],
)
@pytest.mark.parametrize("settings", [{"keep_sequences": True}, {"worst": 3}], ids=["sequences", "worst"])
def test_wrong_or_missing_keys_are_refused_and_change_nothing(
    keys: Any, error: type[Exception], text: str, settings: dict[str, Any]
) -> None:
    report = DivergenceReport(**settings)
    report.update(P, Q, TARGET)
    before = report.current_state.clone()
    with pytest.raises(error, match=text):
        report.update(P, Q, None, None, keys)
    assert torch.equal(report.current_state, before) and report.update_count == 1


def test_keys_are_made_from_the_order_of_the_targets_that_count() -> None:
    def keys(target: Tensor, weights: Tensor | None = None) -> list[int]:
        logits = torch.zeros(*target.shape, 50)
        report = DivergenceReport(keep_sequences=True)
        report.update(logits, logits, target, weights)
        return report.sequence_sums().keys.tolist()

    given = torch.tensor([[3, 1, 4, 1, 5]])
    (key,) = keys(given)
    assert keys(torch.tensor([[-100, 3, 1, -100, 4, 1, 5, -100]])) == [key]
    assert keys(torch.tensor([[3, 9, 1, 4, 1, 5]]), torch.tensor([[1.0, 0, 1, 1, 1, 1]])) == [key]
    assert keys(given.int()) == [key]
    for other in ([3, 1, 1, 4, 5], [3, 1, 4, 1], [3, 1, 4, 1, 5, 0], [0, 3, 1, 4, 1, 5], [3, 1, 4, 1, 6]):
        assert keys(torch.tensor([other])) != [key]
    pairs = torch.cartesian_prod(torch.arange(50), torch.arange(50))
    assert len(set(keys(pairs))) == 2500
    assert keys(torch.full((1, 3), -100)) == []


def hash_of(target: list[int]) -> int:
    """The hash in integers of any size."""
    total = 0
    for place, token in enumerate(target, 1):
        x = (token + place * 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        total += x ^ x >> 31
    return (total + 2**63) % 2**64 - 2**63


def test_a_key_is_the_sum_of_the_hashes_of_the_targets_and_their_places() -> None:
    report = kept_report(P, Q, TARGET)
    assert report.sequence_sums().keys.tolist() == sorted(map(hash_of, TARGET.tolist()))


@pytest.mark.parametrize("settings", [{"keep_sequences": False}, {"worst": 0}, {"worst": 6}])
def test_a_report_that_keeps_something_else_is_not_merged(settings: dict[str, Any]) -> None:
    report = kept_report(P, Q, TARGET)
    with pytest.raises(ValueError, match="with the same settings"):
        report.merge_state(kept_report(P, Q, TARGET, **settings))


def test_passed_keys_replace_those_of_the_targets_and_need_none() -> None:
    keys = torch.tensor([5, -3, 2**62, 0, 1, 7])
    report = kept_report(P, Q, TARGET, torch.ones(TEXTS, 1), keys)
    assert report.sequence_sums().keys.tolist() == sorted(keys.tolist())
    bare, other = (DivergenceReport(keep_sequences=True) for _ in range(2))
    bare.update(P, Q, keys=keys)
    other.update(P, OTHER, keys=keys.flip(0))
    assert list(bare.compare(other).differences) == ["kl_mean", "top_1_agreement", "expected_acceptance"]


def test_a_report_without_sequences_keeps_its_size_and_one_with_them_grows_by_the_stated_bytes() -> None:
    fixed, kept = DivergenceReport(), DivergenceReport(keep_sequences=True)
    sizes = []
    for _ in range(2):
        for report in (fixed, kept):
            report.update(P, Q, TARGET)
        sizes.append((fixed.current_state.nbytes, kept.current_state.nbytes))
    assert sizes[0][0] == sizes[1][0] and sizes[1][1] - sizes[0][1] == 104 * TEXTS
    assert "8 * (12 + len(top_k))" in (DivergenceReport.__doc__ or "")
    wide = DivergenceReport(keep_sequences=True, top_k=[1, 5, 10])
    start = wide.current_state.nbytes
    wide.update(P, Q, TARGET)
    assert wide.current_state.nbytes - start == 8 * 15 * TEXTS
    kept.reset()
    assert kept.current_state.nbytes == sizes[0][0]


def test_reports_with_and_without_sequences_give_the_same_bits() -> None:
    fixed = DivergenceReport()
    fixed.update(P, Q, TARGET)
    assert kept_report(P, Q, TARGET).to_dict() == fixed.to_dict()


def test_reports_of_a_collection_share_the_records_of_equal_settings() -> None:
    reports: dict[str, Any] = {
        "a": DivergenceReport(keep_sequences=True),
        "b": DivergenceReport(keep_sequences=True, confidence=0.5),
        "c": DivergenceReport(),
    }
    collection = MetricCollection(reports)
    for batch in ([0, 1], [2, 3, 4], [5]):
        collection.update(P[batch], Q[batch], target=TARGET[batch])
    collection.compute()
    assert sorted(map(sorted, collection.compute_groups.values())) == [["a", "b"], ["c"]]
    other = kept_report(P, OTHER, TARGET)
    expected = kept_report(P, Q, TARGET).compare(other, confidence=0.9)
    for name in "ab":
        found: Any = collection[name]
        assert found.compare(other, confidence=0.9) == expected


def test_a_state_with_half_a_record_is_refused() -> None:
    report = kept_report(P, Q, TARGET)
    (name,) = report.metric_state
    with pytest.raises(ValueError, match=r"should be \(\d+ \+ 13 n,\) in torch.int64 and is \(\d+,\)"):
        report.merge_state({name: report.current_state[:-1]})


def test_the_table_shows_every_difference_and_the_dict_and_json_have_every_number() -> None:
    found = kept_report(P, Q, TARGET).compare(kept_report(P, BETTER, TARGET), labels=("old", "new"))
    lines, values = str(found).splitlines(), found.to_dict()
    assert lines[0] == "6 pairs of sequences" and lines[2].split()[:5] == ["old", "new", "new", "-", "old"]
    for line, (name, d) in zip(lines[3:], found.differences.items(), strict=False):
        cells, scale = line.split("  "), 1 if name.startswith(("kl_", "log_")) else 100
        shown = [float(x.replace(",", "")) for x in cells[1:-1] if x]
        expected = [scale * x for x in d[:7]] + [d.p_value, d.texts_needed]
        assert shown == pytest.approx(expected, rel=0.1, abs=0.02 * scale * d.standard_error, nan_ok=True)
        assert cells[-1].strip() == {"a": "old", "b": "new"}.get(d.verdict, "undecided")
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
