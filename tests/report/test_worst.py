"""The worst rows of a report: those of a sort of all rows, whatever the order, and where ties go."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.reports import TEXTS, TOKENS, kept_report, short_texts, texts
from torchdivergence import DivergenceReport, KLDivergence

P, Q, TARGET = texts()
KEYS = torch.tensor([4, -9, 2**60, 0, 17, 3])
Row = tuple[float, int, int, int]


def expected_rows(p: Tensor, q: Tensor, target: Tensor, number: int) -> list[Row]:
    """By sorting all rows in Python."""
    divergence = KLDivergence(log_prob=True, reduction="none")(p, q).view(len(p), -1).tolist()
    rows = [
        (x, key, position, int(target[text, position]))
        for text, key in enumerate(KEYS.tolist())
        for position, x in enumerate(divergence[text])
    ]
    return sorted(rows, key=lambda row: (-row[0], *row[1:]))[:number]


def tied() -> tuple[Tensor, Tensor, Tensor]:
    """Rows of few different divergences, some of them infinite."""
    generator = torch.Generator().manual_seed(2)
    p = torch.zeros(TEXTS, TOKENS, 4)
    q = torch.randint(0, 2, p.shape, generator=generator).float()
    q[..., 1].masked_fill_(torch.rand(TEXTS, TOKENS, generator=generator) < 0.02, -math.inf)
    return p, q, torch.randint(0, 4, (TEXTS, TOKENS), generator=generator)


@pytest.mark.parametrize("number", [1, 3, 20, 100, 1000])
@pytest.mark.parametrize("kind", ["distinct", "tied"])
def test_the_worst_rows_are_the_first_of_all_sorted_rows(kind: str, number: int) -> None:
    p, q, target = tied() if kind == "tied" else (P, Q, TARGET)
    ones = torch.ones(TEXTS, 1)
    whole = kept_report(p, q, target, ones, KEYS, worst=number)
    assert list(whole.worst()) == expected_rows(p, q, target, number)
    for batches in ([[5], [2, 0], [1, 3, 4]], [[i] for i in range(TEXTS)]):
        assert kept_report(p, q, target, ones, KEYS, batches=batches, worst=number).worst() == whole.worst()
    first, second = (kept_report(p, q, target, ones, KEYS, batches=[x], worst=number) for x in ([4, 1], [5, 3, 2, 0]))
    first.merge_state(second)
    assert first.worst() == whole.worst()
    split = [report._parts.split(report.current_state)["worst"] for report in (first, whole)]
    assert torch.equal(*split)


def test_infinite_rows_come_first_and_equal_rows_in_the_order_of_keys_and_positions() -> None:
    p, q, target = tied()
    rows = kept_report(p, q, target, torch.ones(TEXTS, 1), KEYS, worst=200).worst()
    assert rows[0].divergence == math.inf
    pairs = list(itertools.pairwise(rows))
    for before, after in pairs:
        assert (-before.divergence, before.key, before.position) < (-after.divergence, after.key, after.position)
    for same_key in (True, False):  # there are such ties
        assert any(a.divergence == b.divergence and (a.key == b.key) == same_key for a, b in pairs)


def test_rows_of_equal_keys_have_an_order_too() -> None:
    p, q, target = tied()
    same, ones = torch.full((TEXTS,), 3), torch.ones(TEXTS, 1)
    first, second = (
        kept_report(p, q, target, ones, same, batches=batches, worst=50) for batches in ([[1], [0]], [[0, 1]])
    )
    assert first.worst() == second.worst()
    assert list(first.worst()) == sorted(first.worst(), key=lambda row: (-row.divergence, *row[1:]))


def test_ignored_and_invalid_rows_are_not_among_the_worst() -> None:
    order = kept_report(P, Q, TARGET, worst=4, keep_sequences=False).worst()
    q, target, weights = Q.clone(), TARGET.clone(), torch.ones(TEXTS, TOKENS)
    texts_by_key = {}
    for text in range(TEXTS):
        (row,) = kept_report(P, Q, TARGET, batches=[[text]], worst=1).worst()
        texts_by_key[row.key] = text
    places = [(texts_by_key[row.key], row.position) for row in order]
    q[places[0]] = math.nan
    target[places[1]] = -100
    weights[places[2]] = 0
    keys = torch.arange(TEXTS)
    found = kept_report(P, q, target, weights, keys, worst=1, nan_policy="omit").worst()
    assert (found[0].key, found[0].position, found[0].divergence) == (*places[3], order[3].divergence)


def test_without_targets_a_row_has_none_and_fewer_rows_than_asked_for_are_all() -> None:
    p, q, _ = short_texts()
    report = DivergenceReport(worst=1000)
    report.update(p, q, keys=torch.arange(6))
    assert len(report.worst()) == 6 * 9 and {row.target for row in report.worst()} == {-1}
    assert str(report.worst()).count("\n") == 54


def test_positions_count_the_rows_of_a_sequence_of_several_dimensions() -> None:
    p, q, target = short_texts()
    flat, deep = DivergenceReport(worst=9), DivergenceReport(worst=9)
    flat.update(p, q, target)
    p, q, target = (x.unflatten(1, (3, 3)) for x in (p, q, target))
    deep.update(p, q, target)
    assert deep.worst() == flat.worst()


def test_a_single_row_is_a_sequence() -> None:
    report = DivergenceReport(worst=2, keep_sequences=True)
    report.update(P[0, 0], Q[0, 0], TARGET[0, 0])
    (row,) = report.worst()
    assert row.position == 0 and row.target == TARGET[0, 0]
    assert report.sequence_sums().keys.tolist() == [row.key]


def test_an_empty_batch_adds_no_rows() -> None:
    report = DivergenceReport(worst=2, keep_sequences=True)
    for shape in ((0, 5, 8), (3, 0, 8), (0, 8)):
        p = torch.zeros(shape)
        report.update(p, p, torch.zeros(shape[:-1], dtype=torch.long))
    assert list(report.worst()) == [] and len(report.sequence_sums().keys) == 0


def test_the_table_has_a_line_for_each_row() -> None:
    rows = kept_report(P, Q, TARGET, worst=3).worst()
    head, *lines = str(rows).splitlines()
    assert head.split("  ")[-3:] and "position" in head and len(lines) == 3
    for place, (line, row) in enumerate(zip(lines, rows, strict=True), 1):
        number, divergence, *others = line.split()
        assert int(number) == place and float(divergence) == pytest.approx(row.divergence, rel=1e-3)
        assert [int(x) for x in others] == [row.key, row.position, row.target]


@pytest.mark.parametrize(("worst", "error"), [(-1, ValueError), (2.5, TypeError), (True, TypeError)])
def test_a_wrong_number_of_worst_rows_is_refused(worst: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="worst must be"):
        DivergenceReport(worst=worst)


def test_a_report_that_keeps_no_rows_says_how_to_keep_them() -> None:
    with pytest.raises(ValueError, match="create the report with worst=20"):
        DivergenceReport().worst()
