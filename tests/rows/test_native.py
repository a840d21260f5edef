"""The compiled rows against those in plain torch, and that the latter stand in for them."""

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from math import inf, nan
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support import ROOT
from tests.support.definitions import near
from tests.support.strategies import logit_pairs, wide_pairs
from torchdivergence._divergences.spec import (
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
from torchdivergence._extension import native as extension
from torchdivergence._rows import native, reference
from torchdivergence._states import superaccumulator as _accumulators

pytestmark = pytest.mark.skipif(not native._SUMS, reason="was built without a compiler")

NAMED = KL, REVERSE_KL, JEFFREYS, TOTAL_VARIATION, HELLINGER, CROSS_ENTROPY, ENTROPY
GENERATORS = (*NAMED, *map(jensen_shannon, (0.1, 0.5)))
TERMS = (*LOG_MASSES, *dict.fromkeys(term for generator in GENERATORS for term in generator.terms))
LOGS = (True, True)


def assert_the_same(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = LOGS, temperature: float = 1.0) -> None:
    for term in TERMS:
        assert native.suits(p, q, log_prob, temperature, term)
    # their values, as the terms of the entropy take a share of 1/2 for small or not by its last bit
    ours, expected = (values(engine.sums(p, q, log_prob, temperature, TERMS)) for engine in (native, reference))
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


def test_unaligned_tensors() -> None:
    numbers = torch.randn(2, 5, 300, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        p, q = numbers.to(dtype)
        buffers = [bytearray(b"\0" + x.contiguous().view(torch.uint8).numpy().tobytes()) for x in (p, q)]
        a, b = (torch.frombuffer(buffer, dtype=dtype, offset=1).view(5, 300) for buffer in buffers)
        assert a.data_ptr() % a.itemsize
        assert torch.equal(native.sums(a, b, LOGS, 1.0, TERMS), native.sums(p, q, LOGS, 1.0, TERMS))


def test_the_layout_is_that_of_the_python_code() -> None:
    layout = extension.LAYOUT
    assert list(layout) == ["interface", "limb_bits", "limbs", "width", "dtypes", "max_dims", "max_terms", "terms"]
    assert layout["interface"] == 2
    assert (layout["limb_bits"], layout["limbs"]) == (_accumulators._DIGIT, _accumulators._DIGITS)
    assert layout["width"] == _accumulators.BANK
    assert {getattr(torch, name): code for name, code in layout["dtypes"].items()} == native._DTYPES
    assert layout["max_dims"] == native._MOST_DIMS


@settings(deadline=None)
@given(
    st.lists(st.floats(min_value=0) | st.sampled_from([nan, -nan, inf, 5e-324, 1.7976931348623157e308]), max_size=40)
)
def test_compiled_accumulation_is_that_of_torch(values: list[float]) -> None:
    numbers = torch.tensor([values, values[::-1]], dtype=torch.float64)
    compiled, in_torch = torch.zeros(2, 2, _accumulators.BANK, dtype=torch.int64)
    _accumulators.add_(compiled, numbers)
    _accumulators._add_(in_torch, numbers)
    assert torch.equal(compiled, in_torch)


# Arguments of valid calls, on memory that must stay as it is when one of them is replaced by a wrong one.
MEMORY = torch.zeros(1000, dtype=torch.float64)
ADDRESS = MEMORY.data_ptr()
TENSOR = (ADDRESS, 0, True, (15, 5))
TERM_SUMS = {
    "p": TENSOR,
    "q": TENSOR,
    "batch": (2, 3),
    "classes": 5,
    "temperature": 1.0,
    "requests": ((0, 0.0),),
    "out": ADDRESS,
    "threads": 1,
}
ACCUMULATE = {"values": ADDRESS, "height": 1, "count": 2, "accumulators": ADDRESS}
HUGE = (2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**200)
BAD_TENSORS = [
    *((address, 0, True, (15, 5)) for address in (0, -1, *HUGE[3:])),
    *((ADDRESS, dtype, True, (15, 5)) for dtype in (-1, 4, 2**31, 2**32, *HUGE)),
    *((ADDRESS, 0, True, (15, stride)) for stride in (-1, *HUGE)),
    *((ADDRESS, 0, True, strides) for strides in ((), (5,), (30, 15, 5), (1,) * 100)),
    *(TENSOR[:size] for size in range(4)),
    (*TENSOR, 1),
]
NON_NEGATIVE = (-1, *HUGE)
BAD_TERM_SUMS = {
    "p": BAD_TENSORS,
    "q": BAD_TENSORS,
    "batch": [(), (6,), (1, 2, 3), (1,) * 17, *((2, size) for size in NON_NEGATIVE), (2**32, 2**31), (2**31,) * 9],
    "classes": [0, *NON_NEGATIVE],
    "temperature": [0.0, -1.0, -inf, nan, 5e-324],
    "requests": [
        ((0, 0.0),) * 17,
        *(((term, 0.0),) for term in (10, 2**31, 2**32, *NON_NEGATIVE)),
        ((),),
        ((0,),),
        ((0, 0.0, 0.0),),
    ],
    "out": [0, -1, ADDRESS + 1, *HUGE[3:]],
    "threads": [0, -1, *HUGE[2:]],
}
BAD_ACCUMULATE = {
    "values": [0, -1, *HUGE[3:]],
    "height": NON_NEGATIVE,
    "count": NON_NEGATIVE,
    "accumulators": [0, -1, ADDRESS + 1, *HUGE[3:]],
}
WRONG_TYPES = [None, "1", 1j, [1], (None,), {}]
VALUE_ERRORS = [
    *(("term_sums", name, value) for name, values in BAD_TERM_SUMS.items() for value in values),
    *(("accumulate", name, value) for name, values in BAD_ACCUMULATE.items() for value in values),
]
TYPE_ERRORS = [
    *(("term_sums", name, value) for name, value in product(TERM_SUMS, WRONG_TYPES)),
    *(("accumulate", name, value) for name, value in product(ACCUMULATE, WRONG_TYPES)),
    *(("term_sums", "p", (*TENSOR[:k], None, *TENSOR[k + 1 :])) for k in (0, 1, 3)),
    ("term_sums", "p", (ADDRESS, 0, True, (15, None))),
    ("term_sums", "batch", (2, None)),
    ("term_sums", "requests", ((None, 0.0),)),
    ("term_sums", "requests", ((0, None),)),
]


def call(function: str, **wrong: object) -> None:
    arguments = {"term_sums": TERM_SUMS, "accumulate": ACCUMULATE}[function] | wrong
    getattr(extension, function)(*arguments.values())


@pytest.mark.parametrize(
    ("function", "name", "value"), VALUE_ERRORS, ids=[f"{f}-{n}-{k}" for k, (f, n, _) in enumerate(VALUE_ERRORS)]
)
def test_wrong_values_are_refused_before_memory_is_touched(function: str, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"must|overflow|null|aligned|exceed"):
        call(function, **{name: value})
    assert not MEMORY.any()


@pytest.mark.parametrize(
    ("function", "name", "value"), TYPE_ERRORS, ids=[f"{f}-{n}-{k}" for k, (f, n, _) in enumerate(TYPE_ERRORS)]
)
def test_wrong_types_are_refused_before_memory_is_touched(function: str, name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        call(function, **{name: value})
    assert not MEMORY.any()


@pytest.mark.parametrize("function", [extension.term_sums, extension.accumulate] if extension else [])
@pytest.mark.parametrize("count", [0, 3, 9])
def test_a_wrong_number_of_arguments_is_refused(function: Callable[..., Any], count: int) -> None:
    with pytest.raises(TypeError, match=f"got {count}"):
        function(*[1] * count)


def test_null_addresses_are_taken_where_there_is_nothing_to_read_or_write() -> None:
    empty = (0, 0, True, (15, 5))
    call("term_sums", p=empty, q=empty, batch=(2, 0), out=0)
    call("term_sums", p=empty, q=empty, batch=(2**62, 0), out=0)
    call("term_sums", p=empty, q=empty, requests=(), out=0)
    call("accumulate", values=0, count=0)
    call("accumulate", values=0, height=0, accumulators=0)
    assert not MEMORY.any()


def test_any_number_of_threads_may_be_asked_for() -> None:
    p, q = torch.randn(2, 40, 5000, dtype=torch.float64)
    expected = native.sums(p, q, LOGS, 1.0, TERMS[:1])
    out = torch.empty(1, 40, dtype=torch.float64)
    for threads in (1, 3, 50, 2**40):
        a, b = ((x.data_ptr(), 0, True, (5000,)) for x in (p, q))
        code = native._SUMS[TERMS[0].name]
        extension.term_sums(a, b, (40,), 5000, 1.0, ((code, 0.0),), out.zero_().data_ptr(), threads)
        assert torch.equal(out, expected)


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
