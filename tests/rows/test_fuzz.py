"""Fuzzing: rows of arbitrary floats and counts, for every divergence and both CPU backends, against the definitions."""

import math
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.backends import BACKENDS, use_backend
from tests.support.bulk_definitions import NormalizedPair, exactly, truth
from tests.support.corpus import Row, assert_accurate
from tests.support.divergences import DIVERGENCES, Divergence
from tests.support.fuzzing import LARGEST_LOGIT, Dtypes, counts, pairs
from tests.support.tolerances import allowed_error
from torchdivergence import DivergenceCollection

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore:p (and q have a single class|was passed as prob):UserWarning"),  # as generated
]

LogProb = tuple[bool, bool]
Floats = npt.NDArray[Any]

HALF, BFLOAT, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
DTYPES = [(HALF, HALF), (BFLOAT, BFLOAT), (SINGLE, SINGLE), (DOUBLE, DOUBLE)]
DTYPES += [(HALF, SINGLE), (BFLOAT, DOUBLE), (DOUBLE, SINGLE), (SINGLE, BFLOAT)]
SIZES = {1: 200, 2: 4000, 3: 4000, 17: 1000, 130: 100}  # classes: rows
TEMPERATURES = [1.0, 3.0, 0.1, 1e5, 1e-5]
NEAR_OVERFLOW = 1e300  # intermediate results of larger values may overflow


def values_of(p: Tensor, q: Tensor, log_prob: LogProb, temperature: float = 1.0) -> dict[Divergence, Floats]:
    """The values of all rows, for every divergence."""
    read = {"log_prob": log_prob, "reduction": "none", "temperature": temperature}
    metrics = {str(i): divergence.make(**read) for i, divergence in enumerate(DIVERGENCES)}
    values = DivergenceCollection(metrics)(p, q)
    return {divergence: values[str(i)].numpy() for i, divergence in enumerate(DIVERGENCES)}


class Case(NamedTuple):
    """Rows, and for each divergence their true values and the allowed errors."""

    p: Tensor
    q: Tensor
    log_prob: LogProb
    temperature: float
    truths: dict[Divergence, tuple[Floats, Floats]]


def case_of(p: Tensor, q: Tensor, log_prob: LogProb, temperature: float = 1.0) -> Case:
    pair = NormalizedPair(p, q, log_prob, temperature)
    truths = {}
    for divergence in DIVERGENCES:
        true = truth(divergence, pair)
        truths[divergence] = true, allowed_error(divergence, p, q, log_prob, pair, true)
    return Case(p, q, log_prob, temperature, truths)


@lru_cache(len(SIZES) * len(TEMPERATURES))
def fuzzed(seed: int, rows: int, classes: int, dtypes: Dtypes, log_prob: LogProb, temperature: float) -> Case:
    """Cached for the other backend."""
    p, q = pairs(seed, rows, classes, dtypes, log_prob)
    return case_of(p, q, log_prob, temperature)


@np.errstate(invalid="ignore")  # inf - inf
def wrong_rows(case: Case) -> list[str]:
    """Descriptions of all rows whose value contradicts the definition or the stated accuracy."""
    p, q, log_prob, temperature, truths = case
    equal = (log_prob[0] == log_prob[1]) & (exactly(p) == exactly(q)).all(-1)
    found: list[str] = []
    for divergence, value in values_of(p, q, log_prob, temperature).items():
        true, error = truths[divergence]
        wrong = np.abs(value - true) > error
        wrong |= np.isinf(value) != np.isinf(true)
        wrong &= ~((value > NEAR_OVERFLOW) & (true > NEAR_OVERFLOW))
        wrong |= (np.isnan(value) != np.isnan(true)) | (value < 0) | (value > divergence.bound)
        wrong |= divergence.zero_iff_equal & equal & (value > 0)
        found += [
            f"{divergence}: {value[i]!r} is not {true[i]!r}: {_written(p[i])} | {_written(q[i])}"
            for i in np.flatnonzero(wrong)
        ]
    return found


def _written(row: Tensor) -> str:
    return " ".join(float(x).hex() for x in row)


@pytest.mark.parametrize("log_prob", list(product([True, False], repeat=2)), ids=str)
@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_any_floats_have_the_value_of_the_definition(backend: str, dtypes: Dtypes, log_prob: LogProb) -> None:
    temperatures = TEMPERATURES if all(log_prob) else [1.0]
    for seed, ((classes, rows), temperature) in enumerate(product(SIZES.items(), temperatures)):
        case = fuzzed(seed, rows // len(temperatures), classes, dtypes, log_prob, temperature)
        with use_backend(backend):
            assert wrong_rows(case) == []


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_rows_of_any_counts_have_the_value_of_the_definition(dtype: torch.dtype, classes: int) -> None:
    p, q = counts(classes, SIZES[classes] // 2, classes, dtype)
    assert wrong_rows(case_of(p, q, (False, False))) == []
    assert wrong_rows(case_of(p, q.float(), (False, False))) == []
    assert wrong_rows(case_of(p, q.double().log(), (False, True))) == []


@st.composite
def rows_of_any_floats(draw: st.DrawFn) -> Row:
    dtypes = [draw(st.sampled_from([HALF, BFLOAT, SINGLE, DOUBLE])) for _ in range(2)]
    log_prob = draw(st.booleans()), draw(st.booleans())
    classes = draw(st.integers(1, 4))
    sides = [
        draw(st.lists(_floats(dtype, is_log), min_size=classes, max_size=classes))
        for dtype, is_log in zip(dtypes, log_prob, strict=True)
    ]
    if draw(st.booleans()) and log_prob[0] == log_prob[1]:
        changed = draw(st.integers(0, classes))
        sides[1] = sides[0][:changed] + sides[1][changed:]
    p, q = (torch.tensor(x, dtype=DOUBLE).to(dtype) for x, dtype in zip(sides, dtypes, strict=True))
    return Row(p, q, log_prob, draw(st.sampled_from([1.0, 0.1, 7.0])) if all(log_prob) else 1.0)


def _floats(dtype: torch.dtype, is_log: bool) -> st.SearchStrategy[float]:
    """Logits, or weights whose sum is about 1, for which the stated accuracy holds without a term for their size."""
    largest = min(float(torch.finfo(dtype).max), LARGEST_LOGIT)
    invalid = st.sampled_from([math.nan, math.inf, -math.inf])
    if is_log:
        return st.one_of(st.floats(-largest, largest), st.floats(-40, 40), st.floats(-1500, 0), invalid)
    return st.one_of(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.just(1.0), st.floats(-1e-300, 0), invalid)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(row=rows_of_any_floats())
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_any_floats_has_the_value_of_the_definition(backend: str, row: Row) -> None:
    with use_backend(backend):
        assert_accurate(row)
