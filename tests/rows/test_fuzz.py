"""Every float there is, thrown at every divergence and both engines of the CPU, and held against the definitions."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.backends import ENGINES, only
from tests.support.bulk_definitions import Shares, exactly, truth
from tests.support.divergences import FAMILY, Member
from tests.support.fuzzing import Dtypes, counts, pairs
from tests.support.tolerances import allowed
from torchdivergence import DivergenceCollection

LogProb = tuple[bool, bool]

HALF, BFLOAT, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
DTYPES = [(HALF, HALF), (BFLOAT, BFLOAT), (SINGLE, SINGLE), (DOUBLE, DOUBLE)]
DTYPES += [(HALF, SINGLE), (BFLOAT, DOUBLE), (DOUBLE, SINGLE), (SINGLE, BFLOAT)]
SIZES = {1: 200, 2: 4000, 3: 4000, 17: 1000, 130: 100}  # how many rows of how many classes
WAYS = list(product([True, False], repeat=2))
TEMPERATURES = [1.0, 3.0, 0.1, 1e5, 1e-5]
NEAR_THE_END = 1e300  # a sum on its way to a value so large may be infinite


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For so little work others cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def values_of(p: Tensor, q: Tensor, log_prob: LogProb, temperature: float = 1.0) -> dict[Member, np.ndarray]:
    """The value of each row, of every member of the family."""
    settings = {"log_prob": log_prob, "reduction": "none", "temperature": temperature}
    metrics = {str(i): member.metric(**member.parameter, **settings) for i, member in enumerate(FAMILY)}
    values = DivergenceCollection(metrics)(p, q)
    return {member: values[str(i)].numpy() for i, member in enumerate(FAMILY)}


class Case(NamedTuple):
    """Rows, and for each member the values by definition and the errors that they may have."""

    p: Tensor
    q: Tensor
    log_prob: LogProb
    temperature: float
    truths: dict[Member, tuple[np.ndarray, np.ndarray]]


def judged(p: Tensor, q: Tensor, log_prob: LogProb, temperature: float = 1.0) -> Case:
    shares, truths = Shares(p, q, log_prob, temperature), {}
    for member in FAMILY:
        true = truth(member, shares)
        truths[member] = true, allowed(member, p, q, log_prob, shares, true)
    return Case(p, q, log_prob, temperature, truths)


@lru_cache(len(SIZES) * len(TEMPERATURES))
def fuzzed(seed: int, rows: int, classes: int, dtypes: Dtypes, log_prob: LogProb, temperature: float) -> Case:
    """Kept for the other engine."""
    return judged(*pairs(seed, rows, classes, dtypes, log_prob), log_prob, temperature)


@np.errstate(invalid="ignore")  # inf - inf
def wrong_rows(case: Case) -> list[str]:
    """The rows whose value is not what the definition and the docstring say, told so that they can be written down."""
    p, q, log_prob, temperature, truths = case
    equal = (log_prob[0] == log_prob[1]) & (exactly(p) == exactly(q)).all(-1)
    found = []
    for member, value in values_of(p, q, log_prob, temperature).items():
        true, error = truths[member]
        off = np.abs(value - true) > error
        off |= np.isinf(value) != np.isinf(true)
        off &= ~((value > NEAR_THE_END) & (true > NEAR_THE_END))
        off |= (np.isnan(value) != np.isnan(true)) | (value < 0) | (value > member.bound)
        off |= member.compares & equal & (value > 0)
        found += [
            f"{member}: {value[i]!r} is not {true[i]!r}: {_written(p[i])} | {_written(q[i])}"
            for i in np.flatnonzero(off)
        ]
    return found


def _written(row: Tensor) -> str:
    return " ".join(float(x).hex() for x in row)


@pytest.mark.parametrize("log_prob", WAYS, ids=str)
@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_rows_of_any_floats_have_the_value_of_the_definition(engine: str, dtypes: Dtypes, log_prob: LogProb) -> None:
    temperatures = TEMPERATURES if all(log_prob) else [1.0]
    for seed, ((classes, rows), temperature) in enumerate(product(SIZES.items(), temperatures)):
        case = fuzzed(seed, rows // len(temperatures), classes, dtypes, log_prob, temperature)
        with only(engine):
            assert wrong_rows(case) == []


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_rows_of_any_counts_have_the_value_of_the_definition(dtype: torch.dtype, classes: int) -> None:
    p, q = counts(classes, SIZES[classes] // 2, classes, dtype)
    assert wrong_rows(judged(p, q, (False, False))) == []
    assert wrong_rows(judged(p, q.float(), (False, False))) == []
    assert wrong_rows(judged(p, q.double().log(), (False, True))) == []
