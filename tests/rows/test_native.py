"""The compiled rows against those in plain torch, and that the latter stand in for them."""

import subprocess
import sys
from itertools import product
from math import inf, nan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support import ROOT
from tests.support.definitions import near
from tests.support.strategies import logit_pairs, wide_pairs
from torchdivergence._generators import (
    CROSS_ENTROPY,
    ENTROPY,
    HELLINGER,
    JEFFREYS,
    KL,
    LOG_MASSES,
    REVERSE_KL,
    TOTAL_VARIATION,
    Term,
    jensen_shannon,
)
from torchdivergence._rows import eager, native

pytestmark = pytest.mark.skipif(not native._SUMS, reason="was built without a compiler")

NAMED = KL, REVERSE_KL, JEFFREYS, TOTAL_VARIATION, HELLINGER, CROSS_ENTROPY, ENTROPY
GENERATORS = (*NAMED, *map(jensen_shannon, (0.1, 0.5)))
TERMS = (*LOG_MASSES, *dict.fromkeys(term for generator in GENERATORS for term in generator.terms))
LOGS = (True, True)


def assert_the_same(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = LOGS, temperature: float = 1.0) -> None:
    for term in TERMS:
        assert native.suits(p, q, log_prob, temperature, term)
    # their values, as the terms of the entropy take a share of 1/2 for small or not by its last bit
    ours, expected = (values(engine.sums(p, q, log_prob, temperature, TERMS)) for engine in (native, eager))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-15, equal_nan=True)


def values(sums: Tensor) -> Tensor:
    """Of all divergences, before their bounds, and of the masses."""
    by_term = dict(zip(TERMS, sums, strict=True))
    finished = [generator.finish(*(by_term[term] for term in generator.terms)) for generator in GENERATORS]
    return torch.stack([*finished, *(by_term[term] for term in LOG_MASSES)])


def test_every_compiled_sum_is_a_term_of_the_table() -> None:
    assert {term.name for term in TERMS} == set(native._SUMS)


@settings(deadline=None, max_examples=300)
@given(st.one_of(logit_pairs(), wide_pairs()), st.sampled_from([1.0, 3.0, 0.1]))
def test_any_row_of_logits(rows: tuple[Tensor, Tensor], temperature: float) -> None:
    assert_the_same(*rows, temperature=temperature)


@pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 127, 128, 129, 1000, 5000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_number_of_classes_and_dtype(classes: int, dtype: torch.dtype) -> None:
    p, q = torch.randn(2, 3, classes, dtype=torch.float64).mul_(4).to(dtype)
    assert_the_same(p, q)
    assert_the_same(p, q.double())


@pytest.mark.parametrize("log_prob", list(product([True, False], repeat=2)))
def test_probabilities_and_counts(log_prob: tuple[bool, bool]) -> None:
    p, q = torch.rand(2, 5, 300, dtype=torch.float64).mul_(9).round_()
    p, q = (x + (x.sum(-1, keepdim=True) == 0) for x in (p, q))
    assert_the_same(p, q, log_prob)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_log", [True, False])
def test_every_number_of_16_bits_is_read_as_torch_reads_it(dtype: torch.dtype, is_log: bool) -> None:
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    p = numbers.unsqueeze(1).expand(-1, 2).contiguous()
    p[:, 1] = 1
    q = torch.ones_like(p)
    expected = native.sums(p.double(), q.double(), (is_log, is_log), 1.0, TERMS)
    torch.testing.assert_close(
        native.sums(p, q, (is_log, is_log), 1.0, TERMS), expected, rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("value", [5e-324, 1e-310, 2.3e-308, 1e-200, 0.3, 1.0, 1.5, 1e200, 1.7e308])
def test_logarithms_of_weights_of_any_size(value: float) -> None:
    p = torch.tensor([value, value * 0.5, 0.0], dtype=torch.float64)
    assert_the_same(p, p.flip(0), (False, False))
    assert_the_same(p, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), (False, False))


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_row_that_is_no_distribution_is_nan(bad: float) -> None:
    good, rows = torch.zeros(3, 200), torch.zeros(3, 200)
    rows[1, :] = bad if bad == -inf else 0.0
    rows[1, 150] = bad
    for p, q in ((good, rows), (rows, good)):
        for sums in native.sums(p, q, LOGS, 1.0, TERMS):
            assert sums.isnan().tolist() == [False, True, False]


def test_layouts() -> None:
    x = torch.randn(2, 6, 5, 7, 40)
    p, q = x[0], x[1]
    pairs = [
        (p.transpose(0, 2), q.transpose(0, 2)),  # the classes are adjacent, the rows in another order
        (p.movedim(1, -1), q.movedim(1, -1)),  # the classes lie apart
        (p.movedim(1, -1), q.movedim(1, -1).contiguous()),
        (p[:1].expand_as(p), q[..., :1].expand_as(q)),  # strides of 0
        (p[::2, 1:, ::3], q[::2, 1:, ::3]),
        (p[0, 0, 0], q[0, 0, 0]),
        (p[:0], q[:0]),
        (p[..., :1], q[..., :1]),
        (p.view(6, 5, 7, 2, 2, 10).view(*[1] * 10, *p.shape), q.view(*[1] * 10, *q.shape)),
    ]
    for a, b in pairs:
        assert_the_same(a, b)
        together = native.sums(a.contiguous(), b.contiguous(), LOGS, 1.0, TERMS)
        assert torch.equal(native.sums(a, b, LOGS, 1.0, TERMS), together)


def test_blocks_of_classes_that_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = torch.randn(2, 9, 40, 5).movedim(2, -1)
    together = native.sums(p, q, LOGS, 1.0, TERMS)
    monkeypatch.setattr(native, "_BLOCK", 80)
    assert torch.equal(native.sums(p, q, LOGS, 1.0, TERMS), together)


def test_more_sums_than_one_call_takes() -> None:
    p, q = near(50, 3.0, 0.1)
    terms = tuple(jensen_shannon(k / 50).terms[0] for k in range(1, 50))
    together = native.sums(p, q, LOGS, 1.0, terms)
    assert together.shape == (49,)
    for term, value in zip(terms, together, strict=True):
        assert value == native.sums(p, q, LOGS, 1.0, (term,))[0]


def test_what_is_asked_beside_it_does_not_change_a_sum() -> None:
    p, q = torch.randn(2, 4, 1000)
    together = native.sums(p, q, LOGS, 1.0, TERMS)
    for term, value in zip(TERMS, together, strict=True):
        assert torch.equal(native.sums(p, q, LOGS, 1.0, (term,))[0], value)


def test_what_it_has_no_code_for_is_left_to_torch() -> None:
    p = torch.ones(3)
    assert not native.suits(p.long(), p, (False, True), 1.0, TERMS[0])
    assert not native.suits(p, p, LOGS, 5e-324, TERMS[0])
    assert not native.suits(p, p, LOGS, 1.0, Term("chi_squared", lambda c: c.p))
    assert not native.suits(p.view(*[1] * 20, 3), p.view(*[1] * 20, 3), LOGS, 1.0, TERMS[0])
    assert not native.suits(p.to("meta"), p.to("meta"), LOGS, 1.0, TERMS[0])


def test_without_compiled_code_the_rows_are_as_accurate_and_the_sums_as_exact() -> None:
    options = ["-q", "-p", "tests.support.without_native", "-p", "no:cacheprovider"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options,
        "tests/rows/test_kl_rows.py",
        "tests/states/test_superaccumulator.py",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout[-3000:]
