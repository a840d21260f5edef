"""The native CPU kernels, against the reference backend, which is the fallback without them."""

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
from tests.support.backends import HAS_NATIVE, native, reference, specs
from tests.support.definitions import near
from tests.support.strategies import logit_pairs, wide_pairs

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="the native extension is not built")

DIVERGENCES = [
    numerics
    for spec in specs.SPECS.values()
    for numerics in map(spec.at, spec.parameter.tested if spec.parameter else (None,))
    if all(term.name in native.TERM_CODES for term in numerics.terms)
]
SIDES = [term for key in (*specs.LOG_MASSES, *specs.TOP_CLASSES) for term in specs.by_key(key).terms]
TERMS = (*SIDES, *dict.fromkeys(term for divergence in DIVERGENCES for term in divergence.terms))
LOGITS = (True, True)


def assert_backends_agree(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = LOGITS, temperature: float = 1.0) -> None:
    for term in TERMS:
        assert native.supports(p, q, log_prob, temperature, term)
    # compared as divergences, since the terms of the entropy may or may not count a probability of 1/2 as small
    found, expected = (values(backend.term_sums(p, q, log_prob, temperature, TERMS)) for backend in (native, reference))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15, equal_nan=True)


def values(sums: Tensor) -> Tensor:
    """The values of all divergences, before they are clamped, the log masses and the most likely classes."""
    by_term = dict(zip(TERMS, sums, strict=True))
    finished = [x.finalize(*(by_term[term] for term in x.terms)) for x in DIVERGENCES]
    return torch.stack([*finished, *(by_term[term] for term in SIDES)])


def test_every_native_sum_is_a_term_of_a_divergence() -> None:
    assert {term.name for term in TERMS} == set(native.TERM_CODES)


@settings(deadline=None, max_examples=300)
@given(st.one_of(logit_pairs(), wide_pairs()), st.sampled_from([1.0, 3.0, 0.1]))
def test_any_logits_agree(rows: tuple[Tensor, Tensor], temperature: float) -> None:
    assert_backends_agree(*rows, temperature=temperature)


@pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 127, 128, 129, 1000, 5000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_number_of_classes_and_any_dtype_agree(classes: int, dtype: torch.dtype) -> None:
    p, q = torch.randn(2, 3, classes, dtype=torch.float64).mul_(4).to(dtype)
    assert_backends_agree(p, q)
    assert_backends_agree(p, q.double())


@pytest.mark.parametrize("log_prob", list(product([True, False], repeat=2)))
def test_probabilities_and_counts_agree(log_prob: tuple[bool, bool]) -> None:
    p, q = torch.rand(2, 5, 300, dtype=torch.float64).mul_(9).round_()
    p, q = (x + (x.sum(-1, keepdim=True) == 0) for x in (p, q))
    assert_backends_agree(p, q, log_prob)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_log", [True, False])
def test_every_16_bit_float_is_converted_as_by_torch(dtype: torch.dtype, is_log: bool) -> None:
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    p = numbers.unsqueeze(1).expand(-1, 2).contiguous()
    p[:, 1] = 1
    q = torch.ones_like(p)
    expected = native.term_sums(p.double(), q.double(), (is_log, is_log), 1.0, TERMS)
    torch.testing.assert_close(
        native.term_sums(p, q, (is_log, is_log), 1.0, TERMS), expected, rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("value", [5e-324, 1e-310, 2.3e-308, 1e-200, 0.3, 1.0, 1.5, 1e200, 1.7e308])
def test_weights_of_any_size_agree(value: float) -> None:
    p = torch.tensor([value, value * 0.5, 0.0], dtype=torch.float64)
    assert_backends_agree(p, p.flip(0), (False, False))
    assert_backends_agree(p, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), (False, False))


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_sums_of_an_invalid_row_are_nan(bad: float) -> None:
    good, rows = torch.zeros(3, 200), torch.zeros(3, 200)
    rows[1, :] = bad if bad == -inf else 0.0
    rows[1, 150] = bad
    for p, q in ((good, rows), (rows, good)):
        for sums in native.term_sums(p, q, LOGITS, 1.0, TERMS):
            assert sums.isnan().tolist() == [False, True, False]


def test_any_memory_layout_gives_the_same_bits() -> None:
    x = torch.randn(2, 6, 5, 7, 40)
    p, q = x[0], x[1]
    pairs = [
        (p.transpose(0, 2), q.transpose(0, 2)),  # contiguous classes, permuted rows
        (p.movedim(1, -1), q.movedim(1, -1)),  # strided classes
        (p.movedim(1, -1), q.movedim(1, -1).contiguous()),
        (p[:1].expand_as(p), q[..., :1].expand_as(q)),  # strides of 0
        (p[::2, 1:, ::3], q[::2, 1:, ::3]),
        (p[0, 0, 0], q[0, 0, 0]),
        (p[:0], q[:0]),
        (p[..., :1], q[..., :1]),
        (p.view(6, 5, 7, 2, 2, 10).view(*[1] * 10, *p.shape), q.view(*[1] * 10, *q.shape)),
    ]
    for a, b in pairs:
        assert_backends_agree(a, b)
        together = native.term_sums(a.contiguous(), b.contiguous(), LOGITS, 1.0, TERMS)
        assert torch.equal(native.term_sums(a, b, LOGITS, 1.0, TERMS), together)


def test_strided_classes_are_copied_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = torch.randn(2, 9, 40, 5).movedim(2, -1)
    together = native.term_sums(p, q, LOGITS, 1.0, TERMS)
    monkeypatch.setattr(native, "_BLOCK", 80)
    assert torch.equal(native.term_sums(p, q, LOGITS, 1.0, TERMS), together)


def test_more_sums_than_fit_in_one_call_give_the_same_bits() -> None:
    p, q = near(50, 3.0, 0.1)
    terms = tuple(specs.JENSEN_SHANNON.at(k / 50).terms[0] for k in range(1, 50))
    together = native.term_sums(p, q, LOGITS, 1.0, terms)
    assert together.shape == (49,)
    for term, value in zip(terms, together, strict=True):
        assert value == native.term_sums(p, q, LOGITS, 1.0, (term,))[0]


def test_a_sum_has_the_same_bits_whatever_else_is_requested() -> None:
    p, q = torch.randn(2, 4, 1000)
    together = native.term_sums(p, q, LOGITS, 1.0, TERMS)
    for term, value in zip(TERMS, together, strict=True):
        assert torch.equal(native.term_sums(p, q, LOGITS, 1.0, (term,))[0], value)


def test_unsupported_rows_are_left_to_the_reference_backend() -> None:
    p = torch.ones(3)
    assert not native.supports(p.long(), p, (False, True), 1.0, TERMS[0])
    assert not native.supports(p, p, LOGITS, 5e-324, TERMS[0])
    assert not native.supports(p, p, LOGITS, 1.0, specs.Term("unknown", lambda c: c.p))
    assert not native.supports(p.view(*[1] * 20, 3), p.view(*[1] * 20, 3), LOGITS, 1.0, TERMS[0])
    assert not native.supports(p.to("meta"), p.to("meta"), LOGITS, 1.0, TERMS[0])


def test_without_native_code_rows_are_as_accurate_and_sums_as_exact() -> None:
    files = [
        "rows/test_accuracy",
        "rows/test_special_values",
        "rows/test_batch_invariance",
        "states/test_superaccumulator",
    ]
    # left to the run with native code: divergences without it, some whose terms others have, and the slowest cases
    others = "Alpha or Renyi or ChiSquared or Jeffreys or Reverse or SquaredHellinger"
    options = ["-q", "-k", f"not ({others} or 40000 or 128256 or 33000-2)", "--numprocesses=0"]
    options += ["-p", "tests.support.without_native", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{file}.py" for file in files)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout[-3000:]
