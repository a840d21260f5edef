"""The functions of the native extension: equal integers, any threads, and refusals of wrong arguments."""

from collections.abc import Sequence
from itertools import product
from math import inf, nan
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.backends import HAS_NATIVE, native, specs
from torchdivergence import use_backend
from torchdivergence._extension import native as extension
from torchdivergence._layout import EXPECTED, WIDTH
from torchdivergence._states.superaccumulator import accumulate_

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="the native extension is not built")

LOGITS = (True, True)
TERM_COUNT = len(extension.LAYOUT["terms"]) if extension else 0
(KL,) = specs.KL.at().terms


def test_the_layout_is_the_one_that_python_expects() -> None:
    layout = extension.LAYOUT
    assert list(layout) == [*EXPECTED, "max_dims", "max_terms", "terms"]
    assert EXPECTED.items() <= layout.items()


def test_unaligned_tensors_have_the_bits_of_aligned_ones() -> None:
    numbers = torch.randn(2, 5, 300, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        p, q = numbers.to(dtype)
        buffers = [bytearray(b"\0" + x.contiguous().view(torch.uint8).numpy().tobytes()) for x in (p, q)]
        a, b = (torch.frombuffer(buffer, dtype=dtype, offset=1).view(5, 300) for buffer in buffers)
        assert a.data_ptr() % a.itemsize
        found, expected = (native.term_sums(x, y, LOGITS, 1.0, (KL,)) for x, y in ((a, b), (p, q)))
        assert torch.equal(found, expected)


@settings(deadline=None)
@given(
    st.lists(st.floats(min_value=0) | st.sampled_from([nan, -nan, inf, 5e-324, 1.7976931348623157e308]), max_size=40)
)
def test_native_and_reference_accumulators_are_equal(values: list[float]) -> None:
    numbers = torch.tensor([values, values[::-1]], dtype=torch.float64)
    found, expected = torch.zeros(2, 2, WIDTH, dtype=torch.int64)
    accumulate_(found, numbers)
    with use_backend("reference"):
        accumulate_(expected, numbers)
    assert torch.equal(found, expected)


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
MOMENTS = {
    "values": ADDRESS,
    "weights": ADDRESS,
    "sizes": (2, 3, 1, 5),
    "ends": (2, 5),
    "is_signed": True,
    "states": ADDRESS,
}
HISTOGRAM = {"numbers": ADDRESS, "weights": ADDRESS, "count": 2, "is_signed": False, "state": ADDRESS}
CONTINGENCY = {"first": ADDRESS, "second": ADDRESS, "weights": ADDRESS, "count": 2, "state": ADDRESS}
TOKENS = {
    "p": (ADDRESS, ADDRESS, ADDRESS, True),
    "q": (ADDRESS, ADDRESS, ADDRESS, True),
    "target": ADDRESS,
    "count": 2,
    "temperature": 1.0,
    "out": ADDRESS,
}
VALID: dict[str, dict[str, Any]] = {
    "term_sums": TERM_SUMS,
    "token_columns": TOKENS,
    "accumulate": ACCUMULATE,
    "accumulate_moments": MOMENTS,
    "accumulate_histogram": HISTOGRAM,
    "accumulate_contingency": CONTINGENCY,
}
HUGE = (2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**200)
BAD_TENSORS: list[object] = [
    *((address, 0, True, (15, 5)) for address in (0, -1, *HUGE[3:])),
    *((ADDRESS, dtype, True, (15, 5)) for dtype in (-1, 4, 2**31, 2**32, *HUGE)),
    *((ADDRESS, 0, True, (15, stride)) for stride in (-1, *HUGE)),
    *((ADDRESS, 0, True, strides) for strides in ((), (5,), (30, 15, 5), (1,) * 100)),
    *(TENSOR[:size] for size in range(4)),
    (*TENSOR, 1),
]
NON_NEGATIVE = (-1, *HUGE)
BAD_TERM_SUMS: dict[str, Sequence[object]] = {
    "p": BAD_TENSORS,
    "q": BAD_TENSORS,
    "batch": [(), (6,), (1, 2, 3), (1,) * 17, *((2, size) for size in NON_NEGATIVE), (2**32, 2**31), (2**31,) * 9],
    "classes": [0, *NON_NEGATIVE],
    "temperature": [0.0, -1.0, -inf, nan, 5e-324],
    "requests": [
        ((0, 0.0),) * 25,
        *(((term, 0.0),) for term in (TERM_COUNT, 2**31, 2**32, *NON_NEGATIVE)),
        ((),),
        ((0,),),
        ((0, 0.0, 0.0),),
    ],
    "out": [0, -1, ADDRESS + 1, *HUGE[3:]],
    "threads": [0, -1, *HUGE[2:]],
}
BAD_ACCUMULATE: dict[str, Sequence[object]] = {
    "values": [0, -1, *HUGE[3:]],
    "height": NON_NEGATIVE,
    "count": NON_NEGATIVE,
    "accumulators": [0, -1, ADDRESS + 1, *HUGE[3:]],
}
BAD_ADDRESSES = [0, -1, ADDRESS + 1, *HUGE[3:]]
BAD_MOMENTS: dict[str, Sequence[object]] = {
    **dict.fromkeys(("values", "weights", "states"), BAD_ADDRESSES),
    "sizes": [(), (1,) * 5, *((2, size, 1, 5) for size in NON_NEGATIVE), (2**32, 2**31, 1, 5), (2**62, 0, 1, 5)],
    "ends": [(3, 2), (6,), (1,) * 129, *((end,) for end in NON_NEGATIVE)],
}
BAD_HISTOGRAM: dict[str, Sequence[object]] = {
    **dict.fromkeys(("numbers", "weights", "state"), BAD_ADDRESSES),
    "count": NON_NEGATIVE,
}
BAD_CONTINGENCY: dict[str, Sequence[object]] = {
    **dict.fromkeys(("first", "second", "weights", "state"), BAD_ADDRESSES),
    "count": NON_NEGATIVE,
}
BAD_SIDES: list[object] = [(), (ADDRESS,) * 5, *((ADDRESS, ADDRESS, address, True) for address in BAD_ADDRESSES)]
BAD_TOKENS: dict[str, Sequence[object]] = {
    "p": BAD_SIDES,
    "q": BAD_SIDES,
    "target": BAD_ADDRESSES,
    "count": NON_NEGATIVE,
    "temperature": BAD_TERM_SUMS["temperature"],
    "out": BAD_ADDRESSES,
}
BAD = {
    "term_sums": BAD_TERM_SUMS,
    "token_columns": BAD_TOKENS,
    "accumulate": BAD_ACCUMULATE,
    "accumulate_moments": BAD_MOMENTS,
    "accumulate_histogram": BAD_HISTOGRAM,
    "accumulate_contingency": BAD_CONTINGENCY,
}
WRONG_TYPES: list[object] = [None, "1", 1j, [1], (None,), {}]
VALUE_ERRORS = [
    (function, name, value) for function, bad in BAD.items() for name, values in bad.items() for value in values
]
TYPE_ERRORS = [
    *(
        (function, name, value)
        for function, valid in VALID.items()
        for name, value in product(valid, WRONG_TYPES)
        if name != "is_signed"  # any object is true or false
    ),
    *(("term_sums", "p", (*TENSOR[:k], None, *TENSOR[k + 1 :])) for k in (0, 1, 3)),
    ("term_sums", "p", (ADDRESS, 0, True, (15, None))),
    ("term_sums", "batch", (2, None)),
    ("term_sums", "requests", ((None, 0.0),)),
    ("term_sums", "requests", ((0, None),)),
]


def call(function: str, **wrong: object) -> None:
    arguments = VALID[function] | wrong
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


@pytest.mark.parametrize("function", VALID)
@pytest.mark.parametrize("count", [0, 3, 9])
def test_a_wrong_number_of_arguments_is_refused(function: str, count: int) -> None:
    with pytest.raises(TypeError, match=f"got {count}"):
        getattr(extension, function)(*[1] * count)


def test_null_addresses_are_accepted_if_there_is_nothing_to_read_or_write() -> None:
    empty = (0, 0, True, (15, 5))
    call("term_sums", p=empty, q=empty, batch=(2, 0), out=0)
    call("term_sums", p=empty, q=empty, batch=(2**62, 0), out=0)
    call("term_sums", p=empty, q=empty, requests=(), out=0)
    call("accumulate", values=0, count=0)
    call("accumulate", values=0, height=0, accumulators=0)
    call("token_columns", p=(0, 0, 0, True), q=(0, 0, 0, True), target=0, count=0, out=0)
    call("accumulate_moments", values=0, weights=0, sizes=(2, 0, 1, 5))
    call("accumulate_moments", ends=(), states=0)
    call("accumulate_histogram", numbers=0, weights=0, count=0)
    call("accumulate_contingency", first=0, second=0, weights=0, count=0)
    assert not MEMORY.any()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    p, q = torch.randn(2, 40, 5000, dtype=torch.float64)
    expected = native.term_sums(p, q, LOGITS, 1.0, (KL,))
    out = torch.empty(1, 40, dtype=torch.float64)
    for threads in (1, 3, 50, 2**40):
        a, b = ((x.data_ptr(), 0, True, (5000,)) for x in (p, q))
        code = native.TERM_CODES[KL.name]
        extension.term_sums(a, b, (40,), 5000, 1.0, ((code, 0.0),), out.zero_().data_ptr(), threads)
        assert torch.equal(out, expected)
