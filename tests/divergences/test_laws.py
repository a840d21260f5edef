"""Identities and inequalities between divergences."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.definitions import near
from tests.support.divergences import (
    CHI_SQUARED,
    CROSS_ENTROPY,
    DIVERGENCES,
    ENTROPY,
    EXPECTED_ACCEPTANCE,
    HELLINGER,
    JEFFREYS,
    KL,
    REVERSE_KL,
    SQUARED_HELLINGER,
    TOTAL_VARIATION,
    Divergence,
    alpha,
    jensen_shannon,
    renyi,
)
from tests.support.strategies import logit_pairs
from tests.support.tolerances import ROUNDING

ZERO_IF_EQUAL = [m for m in DIVERGENCES if m.zero_iff_equal]
Rows = tuple[Tensor, Tensor]

any_rows = given(rows=logit_pairs())
many_examples = settings(deadline=None, max_examples=100)


def close(value: float, other: float, rel: float = 1e-12, absolute: float = ROUNDING) -> bool:
    return math.isclose(value, other, rel_tol=rel, abs_tol=absolute)


def at_most(value: float, limit: float) -> bool:
    return value <= limit * (1 + 1e-12) + ROUNDING


@pytest.mark.parametrize(
    ("divergence", "mirror"),
    [
        *((m, m) for m in (JEFFREYS, jensen_shannon(0.5), TOTAL_VARIATION, HELLINGER, SQUARED_HELLINGER)),
        (EXPECTED_ACCEPTANCE, EXPECTED_ACCEPTANCE),
        *((m, m) for m in (alpha(0.5), renyi(0.5))),
        (KL, REVERSE_KL),
        (jensen_shannon(0.25), jensen_shannon(0.75)),
        (alpha(0.25), alpha(0.75)),
        (alpha(3), alpha(-2)),
    ],
    ids=str,
)
@many_examples
@any_rows
def test_swapping_p_and_q_gives_the_mirrored_divergence(divergence: Divergence, mirror: Divergence, rows: Rows) -> None:
    p, q = rows
    assert close(divergence.value(p, q), mirror.value(q, p))


@many_examples
@any_rows
def test_jeffreys_divergence_is_the_sum_of_kl_and_reverse_kl(rows: Rows) -> None:
    assert close(JEFFREYS.value(*rows), KL.value(*rows) + REVERSE_KL.value(*rows))


@pytest.mark.parametrize(
    ("divergence", "factor", "other"),
    [
        (alpha(2), 0.5, CHI_SQUARED),
        (alpha(0.5), 4.0, SQUARED_HELLINGER),
        (alpha(1), 1.0, KL),
        (alpha(0), 1.0, REVERSE_KL),
        (renyi(1), 1.0, KL),
    ],
    ids=str,
)
@many_examples
@any_rows
def test_alpha_and_renyi_divergence_have_special_cases(
    divergence: Divergence, factor: float, other: Divergence, rows: Rows
) -> None:
    assert close(divergence.value(*rows), factor * other.value(*rows))


@many_examples
@any_rows
def test_expected_acceptance_is_one_minus_the_total_variation_distance(rows: Rows) -> None:
    assert close(EXPECTED_ACCEPTANCE.value(*rows), 1 - TOTAL_VARIATION.value(*rows))


@many_examples
@any_rows
def test_hellinger_distance_is_the_square_root_of_its_square(rows: Rows) -> None:
    assert close(HELLINGER.value(*rows) ** 2, SQUARED_HELLINGER.value(*rows), absolute=0)


@pytest.mark.parametrize("order", [0.3, 0.5, 2, 3])
@many_examples
@any_rows
def test_renyi_divergence_is_a_logarithm_of_alpha_divergence(order: float, rows: Rows) -> None:
    excess = order * (order - 1) * alpha(order).value(*rows)
    if excess > -0.9 and excess < 1e300:  # beyond, the alpha divergence has lost its digits
        assert close(renyi(order).value(*rows), math.log1p(excess) / (order - 1))


@many_examples
@any_rows
def test_pinskers_inequality_holds(rows: Rows) -> None:
    """Tsybakov 2009, lemma 2.5."""
    assert at_most(TOTAL_VARIATION.value(*rows), math.sqrt(KL.value(*rows) / 2))


@many_examples
@any_rows
def test_the_bretagnolle_huber_inequality_holds(rows: Rows) -> None:
    """Bretagnolle and Huber 1979; Canonne, "A short note on an inequality between KL and TV" (2022), eq. 3."""
    assert at_most(TOTAL_VARIATION.value(*rows), math.sqrt(-math.expm1(-KL.value(*rows))))


@many_examples
@any_rows
def test_le_cams_inequalities_hold(rows: Rows) -> None:
    """Tsybakov 2009, lemma 2.3, with H^2 half of his: H^2 <= TV <= H sqrt(2 - H^2)."""
    h, tv = HELLINGER.value(*rows), TOTAL_VARIATION.value(*rows)
    assert at_most(h**2, tv)
    assert at_most(tv, h * math.sqrt(2 - h**2))


@many_examples
@any_rows
def test_renyi_divergence_grows_with_its_order(rows: Rows) -> None:
    """Van Erven and Harremoës 2014, theorem 3."""
    orders = [renyi(order).value(*rows) for order in (0.01, 0.3, 0.5, 0.99, 1, 1.01, 2, 3, 20)]
    assert all(at_most(low, high) for low, high in pairwise(orders))


@pytest.mark.parametrize("order", [0.3, 0.5, 0.8])
@many_examples
@any_rows
def test_renyi_divergence_is_skew_symmetric(order: float, rows: Rows) -> None:
    """Van Erven and Harremoës 2014, proposition 2: (1 - a) D_a(p | q) = a D_1-a(q | p)."""
    p, q = rows
    assert close((1 - order) * renyi(order).value(p, q), order * renyi(1 - order).value(q, p))


@many_examples
@any_rows
def test_jensen_shannon_divergence_is_bounded_by_total_variation(rows: Rows) -> None:
    """Above: Lin 1991, theorem 3, where V = 2 TV. Below: Pinsker's inequality for p and m, and for q and m."""
    js, tv = jensen_shannon(0.5).value(*rows), TOTAL_VARIATION.value(*rows)
    assert at_most(js, tv * math.log(2))
    assert at_most(tv, math.sqrt(2 * js))


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5, 0.9, 0.99])
@many_examples
@any_rows
def test_jensen_shannon_divergence_is_bounded_by_kl_and_jeffreys_divergence(beta: float, rows: Rows) -> None:
    """The mixture m minimises beta KL(p | r) + (1 - beta) KL(q | r) over r, among them q and p (Topsøe 2000, eq. 4).

    By convexity, KL(p | m) <= (1 - beta) KL(p | q); with its mirror image this gives the bound by Jeffreys divergence.
    """
    js = jensen_shannon(beta).value(*rows)
    assert at_most(js, beta * KL.value(*rows))
    assert at_most(js, (1 - beta) * REVERSE_KL.value(*rows))
    assert at_most(js, beta * (1 - beta) * JEFFREYS.value(*rows))


@pytest.mark.parametrize("small", [2**-10, 2**-20, 2**-30])
@pytest.mark.parametrize("noise", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_jensen_shannon_divergence_approaches_kl_divergence_for_small_beta(
    small: float, noise: float, seed: int
) -> None:
    """KL(p | q) - JS / beta = KL(m | q) / beta, which is between 0 and beta chi2(p | q), as KL <= chi2."""
    p, q = near(10, 1.0, noise, torch.float64, seed)
    missing = KL.value(p, q) - jensen_shannon(small).value(p, q) / small
    assert -1e-12 * KL.value(p, q) <= missing <= small * CHI_SQUARED.value(p, q)
    missing = REVERSE_KL.value(p, q) - jensen_shannon(1 - small).value(p, q) / small
    assert -1e-12 * REVERSE_KL.value(p, q) <= missing <= small * CHI_SQUARED.value(q, p)


@pytest.mark.parametrize("noise", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("step", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("make", [alpha, renyi])
def test_alpha_and_renyi_divergence_of_orders_close_to_1_are_nearly_kl_divergence(
    make: Callable[[float], Divergence], step: float, noise: float
) -> None:
    p, q = near(10, 1.0, noise, torch.float64)
    below, kl, above = make(1 - step).value(p, q), KL.value(p, q), make(1 + step).value(p, q)
    assert abs(above - kl) <= (5 * step + 1e-10) * kl
    assert abs(below - kl) <= (5 * step + 1e-10) * kl


COUNTS = st.integers(0, 40) | st.integers(0, 3)


@st.composite
def mergeable(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Counts for p and q, some of them 0, and the cell that each class is merged into."""
    classes = draw(st.integers(2, 10))
    p, q = (draw(st.lists(COUNTS, min_size=classes, max_size=classes).filter(any)) for _ in "pq")
    cells = draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes))
    return torch.tensor(p), torch.tensor(q), torch.tensor(cells)


@settings(deadline=None, max_examples=60)
@given(problem=mergeable())
def test_merging_classes_never_increases_a_divergence(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    """The data-processing inequality: Csiszár 1967; for Rényi's, van Erven and Harremoës 2014, theorem 1."""
    p, q, cells = problem
    merged_p, merged_q = (torch.zeros(4, dtype=torch.int64).index_add(0, cells, x) for x in (p, q))
    for divergence in ZERO_IF_EQUAL:
        assert at_most(divergence.value(merged_p, merged_q, False), divergence.value(p, q, False)), divergence


@settings(deadline=None, max_examples=30)
@given(rows=logit_pairs(), seed=st.integers(0, 99))
def test_permuted_classes_and_added_classes_without_mass_do_not_matter(rows: Rows, seed: int) -> None:
    order = torch.randperm(len(rows[0]) + 2, generator=torch.Generator().manual_seed(seed))
    p, q = (torch.cat([x, torch.full((2,), -math.inf)])[order] for x in rows)
    for divergence in ZERO_IF_EQUAL:
        assert close(divergence.value(p, q), divergence.value(*rows)), divergence


@settings(deadline=None, max_examples=200)
@given(rows=logit_pairs())
def test_kl_divergence_is_cross_entropy_minus_entropy(rows: Rows) -> None:
    kl, h, ce = (divergence.value(*rows) for divergence in (KL, ENTROPY, CROSS_ENTROPY))
    rounding = 2 * len(rows[0]) * math.ulp(ce)  # of three sums, and of the terms of one
    underflow = 1e-300  # the smallest normal number stands for probabilities that underflow
    assert ce == kl == math.inf or abs(kl - (ce - h)) <= max(rounding, underflow)
    assert CROSS_ENTROPY.value(rows[0], rows[0]) == ENTROPY.value(rows[0], rows[0]) == pytest.approx(h, rel=rounding)
