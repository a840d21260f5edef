"""The records of sequences that a report keeps, and their keys."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from tests.support.reports import TEXTS, TOKENS, kept_report, other_candidate, texts
from torchdivergence import DivergenceReport

P, Q, TARGET = texts()
OTHER = other_candidate()


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
