"""Single rows against 50-digit arithmetic: those of the corpus, and what Hypothesis thinks of."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.backends import ENGINES, only
from tests.support.definitions import distribution
from tests.support.divergences import FAMILY, Member
from tests.support.merge_laws import assert_same_bits
from tests.support.tolerances import promised

CORPUS = Path(__file__).with_name("corpus.txt")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ROUNDING = 1e-15  # of a share, where the docstrings promise nothing


class Row(NamedTuple):
    """Two rows, and how they are read."""

    p: Tensor
    q: Tensor
    log_prob: tuple[bool, bool]
    temperature: float = 1.0

    @classmethod
    def read(cls, line: str) -> "Row":
        """A line of the corpus."""
        dtypes, logs, temperature, *sides = (part.split() for part in line.split("|"))
        p, q = (
            torch.tensor([float.fromhex(x) for x in side], dtype=torch.float64).to(getattr(torch, dtype))
            for side, dtype in zip(sides, dtypes, strict=True)
        )
        return cls(p, q, (logs[0] == "True", logs[1] == "True"), float.fromhex(temperature[0]))

    def __str__(self) -> str:
        """A line of the corpus."""
        dtypes = " ".join(str(x.dtype).removeprefix("torch.") for x in self[:2])
        sides = (" ".join(float(x).hex() for x in side) for side in self[:2])
        return " | ".join([dtypes, " ".join(map(str, self.log_prob)), self.temperature.hex(), *sides])

    @property
    def is_valid(self) -> bool:
        return all(
            not (x.isnan().any() or x.max() in (math.inf, -math.inf))
            if is_log
            else bool(x.isfinite().all() and (x >= 0).all() and x.any())
            for x, is_log in zip(self[:2], self.log_prob, strict=True)
        )


def assert_right(row: Row) -> None:
    shares = None
    if row.is_valid:
        shares = [distribution(x, log, row.temperature) for x, log in zip(row[:2], row.log_prob, strict=True)]
    equal = row.log_prob[0] == row.log_prob[1] and row.p.tolist() == row.q.tolist()
    for member in FAMILY:
        value = float(member.rows(row.p, row.q, row.log_prob, temperature=row.temperature))
        if shares is None:
            assert math.isnan(value), f"{member}: {value} of the invalid row {row}"
            continue
        truth = max(member.of(*shares), 0)  # 50 digits leave -1e-51
        relative, floor = promised(member, (row.p.dtype, row.q.dtype), row.log_prob)
        exact = (value == truth or not math.isinf(truth)) and (value == 0 or not (equal and member.compares))
        near = value == truth or abs(value - truth) <= (relative * truth if truth >= floor else ROUNDING)
        assert exact and near and 0 <= value <= member.bound, f"{member}: {value} is not {truth} of {row}"


ROWS = [Row.read(line) for line in CORPUS.read_text().splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_of_the_corpus_has_the_value_of_the_definition(engine: str, row: Row) -> None:
    with only(engine):
        assert_right(row)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_line_of_the_corpus_reads_as_it_is_written(row: Row) -> None:
    again = Row.read(str(row))
    for x, y in zip(row[:2], again[:2], strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)
    assert again[2:] == row[2:]


@pytest.mark.filterwarnings("ignore:[pq] was announced:UserWarning")  # one row is all there is to judge by
@pytest.mark.parametrize("member", FAMILY, ids=str)
@pytest.mark.parametrize("row", ROWS[::9], ids=str)
def test_a_metric_has_the_bits_of_the_function(row: Row, member: Member) -> None:
    read = {"log_prob": row.log_prob, "temperature": row.temperature, **member.parameter}
    rows, total = (member.metric(reduction=reduction, **read) for reduction in ("none", "sum"))
    value = member.function(row.p[None], row.q[None], reduction="none", **read)
    assert_same_bits(rows(row.p[None], row.q[None]), value)
    assert_same_bits(total(row.p, row.q), value[0] + 0.0)  # a sum of zeros has no sign
    assert_same_bits(total(row.p, row.q), member.function(row.p, row.q, reduction="sum", **read))


@st.composite
def rows_of_any_floats(draw: st.DrawFn) -> Row:
    dtypes = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    log_prob = draw(st.booleans()), draw(st.booleans())
    classes = draw(st.integers(1, 4))
    # float64 weights are to sum to about 1 and logits to lie within 1e290, for which see tests.support.tolerances and fuzzing
    sides = [
        draw(st.lists(_numbers(dtype, is_log), min_size=classes, max_size=classes))
        for dtype, is_log in zip(dtypes, log_prob, strict=True)
    ]
    if draw(st.booleans()) and log_prob[0] == log_prob[1]:
        changed = draw(st.integers(0, classes))
        sides[1] = sides[0][:changed] + sides[1][changed:]
    p, q = (torch.tensor(x, dtype=torch.float64).to(dtype) for x, dtype in zip(sides, dtypes, strict=True))
    return Row(p, q, log_prob, draw(st.sampled_from([1.0, 0.1, 7.0])) if all(log_prob) else 1.0)


def _numbers(dtype: torch.dtype, is_log: bool) -> st.SearchStrategy[float]:
    far = min(float(torch.finfo(dtype).max), 1e290)
    invalid = st.sampled_from([math.nan, math.inf, -math.inf])
    if is_log:
        return st.one_of(st.floats(-far, far), st.floats(-40, 40), st.floats(-1500, 0), invalid)
    return st.one_of(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.just(1.0), st.floats(-1e-300, 0), invalid)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(row=rows_of_any_floats())
@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_of_any_floats_has_the_value_of_the_definition(engine: str, row: Row) -> None:
    with only(engine):
        assert_right(row)
