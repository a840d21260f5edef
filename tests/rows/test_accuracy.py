"""The accuracy of rows, against 50-digit arithmetic."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import NamedTuple

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.definitions import Distribution, distribution, near, relative_error
from tests.support.definitions import kl_divergence as true_kl
from tests.support.divergences import (
    DIVERGENCES,
    FIRST_ORDER,
    KL,
    TOTAL_VARIATION,
    Divergence,
    every_divergence,
)
from tests.support.strategies import logit_pairs, wide_pairs
from tests.support.tolerances import FLOOR, RELATIVE_ERROR, RELATIVE_ERROR_FLOAT64, ROUNDING
from torchdivergence.functional import kl_divergence


class Pair(NamedTuple):
    """Two rows and the distributions that they stand for."""

    p: Tensor
    q: Tensor
    log_prob: bool
    distributions: tuple[Distribution, Distribution]

    def error(self, divergence: Divergence, floor: float = FLOOR) -> float:
        """The relative error, or 0 if the true value is below the floor."""
        truth = divergence.truth_of(*self.distributions)
        return relative_error(divergence.value(self.p, self.q, self.log_prob), truth) if truth >= floor else 0.0


def pair(p: Tensor, q: Tensor, log_prob: bool = True) -> Pair:
    return Pair(p, q, log_prob, (distribution(p, log_prob), distribution(q, log_prob)))


@cache
def logits(classes: int, spread: float, noise: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> Pair:
    return pair(*near(classes, spread, noise, dtype, seed))


@cache
def probabilities(classes: int, spread: float, noise: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> Pair:
    p, q = near(classes, spread, noise, dtype, seed)
    return pair(p.softmax(-1), q.softmax(-1), False)


@cache
def weights(classes: int, spread: float, noise: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> Pair:
    """Probabilities that are not normalised."""
    p, q = near(classes, spread, noise, dtype, seed)
    return pair(p.exp(), q.exp(), False)


def assert_accurate(
    divergence: Divergence, cases: Iterable[Pair], bound: float = RELATIVE_ERROR, floor: float = FLOOR
) -> None:
    """One test for many cases: on its own each would take less time than pytest needs for it."""
    wrong = [(rows.p, rows.q, error) for rows in cases if (error := rows.error(divergence, floor)) > bound]
    assert not wrong, f"{divergence}: p, q and the errors are {wrong}"


SIZES = [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (10, 0), (200, 0)]  # classes, seed
MORE_SIZES = [*product((2, 3, 10, 41), range(10)), (200, 0), (1000, 0), (4097, 0)]
SPREADS, NOISES = [1.0, 10.0, 30.0], [1e-4, 1e-2, 1.0, 10.0]


@every_divergence
def test_logits_are_accurate(divergence: Divergence) -> None:
    cases = product(MORE_SIZES if divergence == KL else SIZES, SPREADS, NOISES)
    assert_accurate(divergence, (logits(size, spread, noise, seed=seed) for (size, seed), spread, noise in cases))


@pytest.mark.parametrize(
    ("divergence", "classes", "noise"),
    [*product(DIVERGENCES, [4001], [1e-3, 3.0]), *product([KL], [40_000, 128_256], [1e-4, 1.0])],
    ids=str,
)
def test_rows_of_many_classes_are_accurate(divergence: Divergence, classes: int, noise: float) -> None:
    rows = logits(classes, 3.0, noise)
    assert divergence.truth_of(*rows.distributions) >= FLOOR
    assert rows.error(divergence) <= RELATIVE_ERROR


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_taken_as_exact(divergence: Divergence, dtype: torch.dtype) -> None:
    cases = [logits(classes, 5.0, noise, dtype) for classes, noise in product([2, 200], NOISES)]
    assert_accurate(divergence, cases)
    for p, q, *_ in cases:
        assert divergence.value(p, q) == divergence.value(p.float(), q.float())


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_logits_have_nearly_the_value_of_float64(divergence: Divergence, dtype: torch.dtype) -> None:
    p, q = near(1000, 3.0, 0.1, dtype)
    assert divergence.value(p, q) == pytest.approx(divergence.value(p.double(), q.double()), rel=2e-7)


@every_divergence
def test_probabilities_are_accurate(divergence: Divergence) -> None:
    cases = list(product([2, 10, 200], NOISES))
    cases += product([2, 10, 1000], [3e-3, 0.1, 3.0]) if divergence == KL else []
    assert_accurate(divergence, (probabilities(classes, 2.0, noise) for classes, noise in cases))


@pytest.mark.parametrize("classes", [40_000])
def test_probabilities_of_many_classes_are_accurate(classes: int) -> None:
    assert_accurate(KL, (probabilities(classes, 2.0, noise) for noise in [3e-3, 0.1, 3.0]))


@every_divergence
@pytest.mark.parametrize("rows", [logits, probabilities], ids=["logits", "probabilities"])
def test_float64_is_accurate_to_1e_12(divergence: Divergence, rows: Callable[..., Pair]) -> None:
    sizes = [(2, 0), (2, 1), (2, 2), (10, 0), (10, 1), (200, 0)]
    cases = (
        rows(classes, spread, noise, torch.float64, seed)
        for (classes, seed), spread, noise in product(sizes, [5.0, 20.0], [1e-3, 1e-2, 0.1, 3.0])
    )
    assert_accurate(divergence, cases, RELATIVE_ERROR_FLOAT64, 1e-3 if divergence in FIRST_ORDER else 1e-6)


@pytest.mark.parametrize("rows", [logits, weights], ids=["logits", "weights"])
def test_float64_rows_of_many_seeds_are_accurate_to_1e_12(rows: Callable[..., Pair]) -> None:
    cases = product([2, 10, 1000], [2e-3, 0.1, 3.0], range(5))
    pairs = (rows(classes, 5.0, noise, torch.float64, seed) for classes, noise, seed in cases)
    assert_accurate(KL, pairs, RELATIVE_ERROR_FLOAT64, 1e-6)


@pytest.mark.parametrize("divergence", FIRST_ORDER, ids=str)
def test_small_distances_in_float64_are_off_by_a_rounding_error(divergence: Divergence) -> None:
    for noise, seed in product([1e-8, 1e-7, 1e-6, 1e-5], range(5)):
        rows = logits(10, 5.0, noise, torch.float64, seed)
        assert abs(divergence.value(rows.p, rows.q) - divergence.truth_of(*rows.distributions)) <= ROUNDING


def test_p_and_q_may_be_counts_and_logits() -> None:
    counts, some_logits = torch.tensor([3, 0, 5, 8]), torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.bfloat16)
    truth = true_kl(counts, some_logits, (False, True))
    assert relative_error(KL.value(counts, some_logits, (False, True)), truth) < 1e-14
    truth = true_kl(some_logits, counts, (True, False))
    assert relative_error(KL.value(some_logits, counts, (True, False)), truth) == 0


@every_divergence
@pytest.mark.parametrize("log_prob", [True, False])
@pytest.mark.parametrize("shared", [0, 1, 6])
def test_disjoint_and_partly_shared_supports_are_accurate(divergence: Divergence, shared: int, log_prob: bool) -> None:
    p, q = (x.softmax(-1) for x in near(21, 2.0, 3.0))
    p[:7], q[7 + shared : 14] = 0, 0  # both are positive in classes 14 to 20
    if not shared:
        q[7:] = 0
    rows = pair(p.log(), q.log()) if log_prob else pair(p, q, False)
    assert rows.error(divergence) <= RELATIVE_ERROR


@settings(deadline=None, max_examples=80)
@given(rows=logit_pairs())
def test_any_row_is_accurate_or_infinite_and_never_nan(rows: tuple[Tensor, Tensor]) -> None:
    distributions = pair(*rows).distributions
    for divergence in DIVERGENCES:
        value, truth = divergence.value(*rows), divergence.truth_of(*distributions)
        assert 0 <= value <= divergence.bound
        assert relative_error(value, truth) <= RELATIVE_ERROR if truth >= FLOOR else abs(value - truth) <= ROUNDING


@settings(deadline=None, max_examples=300)
@given(wide_pairs(), st.sampled_from([1.0, 2.0, 3.0, 1024.0]))
def test_any_row_of_many_classes_is_accurate_or_infinite(rows: tuple[Tensor, Tensor], temperature: float) -> None:
    p, q = rows
    truth = true_kl(p.double() / temperature, q.double() / temperature, log_prob=True)
    value = float(kl_divergence(p, q, True, temperature=temperature))
    assert value >= 0
    assert relative_error(value, truth) <= RELATIVE_ERROR if truth >= FLOOR else abs(value - truth) <= 10 * ROUNDING


@pytest.mark.parametrize(
    ("classes", "top", "step"), [(1000, 0.5, 2**-24), (128_256, 0.5, 2**-24), (128_256, 0.0, 1e-6)]
)
def test_rows_that_differ_only_in_their_largest_class_are_accurate(classes: int, top: float, step: float) -> None:
    p = torch.zeros(classes)
    p[0] = top
    q = p.clone()
    q[0] += step
    normalized = []
    for weight in (mpmath.exp(float(x[0])) for x in (p, q)):
        total = weight + classes - 1
        normalized.append((weight / total, 1 / total))
    (p_top, p_rest), (q_top, q_rest) = normalized
    kl = p_top * mpmath.log(p_top / q_top) + (classes - 1) * p_rest * mpmath.log(p_rest / q_rest)
    assert relative_error(KL.value(p, q), kl) < RELATIVE_ERROR
    assert relative_error(TOTAL_VARIATION.value(p, q), abs(p_top - q_top)) < RELATIVE_ERROR


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set the default dtype, as Lightning does for precision="bf16-true"."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("classes", [10, 1000])
def test_the_default_dtype_does_not_matter(dtype: torch.dtype, classes: int) -> None:
    p, q = near(classes, 3.0, 0.01)
    expected = KL.value(p, q)
    with default_dtype(dtype):
        assert KL.value(p, q) == expected
