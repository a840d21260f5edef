"""Errors, verdicts and needed numbers of a paired comparison, at its limits too."""

import itertools
import math

import pytest
import scipy.stats
import torch

from tests.support.reports import TEXTS, kept_report, other_candidate, texts
from torchdivergence import DivergenceReport

P, Q, TARGET = texts()
OTHER = other_candidate()
KEYS = torch.arange(TEXTS) * 7
BETTER = P + 0.8 * (Q - P)


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
