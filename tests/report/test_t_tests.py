"""The t tests of a paired difference: against scipy, against an integral, and under the null at every look."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from benchmarks.peeking import DIFFERENCES, false_discoveries
from torchdivergence._report import t_tests
from torchdivergence._report.student_t import quantile, two_sided_tail
from torchdivergence._report.t_tests import SequentialTest, StudentTest, sequences_needed

FREEDOM = [0.3, 1, 2.5, 7, 40.5, 999, 3e4, 9.9e5, 1.1e6, 1e9]
SIZES = [1e-9, 0.01, 0.5, 1.7, 3, 8, 30]


@pytest.mark.parametrize(("t", "freedom"), list(itertools.product(SIZES, FREEDOM)))
def test_tails_of_the_t_distribution_equal_those_of_scipy(t: float, freedom: float) -> None:
    error = 1e-9 + (t**6 / freedom**2 if freedom > 1e6 else 0)  # the next term of the expansion
    assert two_sided_tail(t, freedom) == pytest.approx(2 * scipy.stats.t.sf(t, freedom), rel=error, abs=1e-300)


@pytest.mark.parametrize("freedom", [0.3, 7, 1e3, 1e9])
def test_the_tail_is_the_inverse_of_the_quantile_and_its_ends_are_known(freedom: float) -> None:
    for probability in (0.01, 0.3, 0.5, 0.8, 0.999):
        t = quantile(probability, freedom)
        assert two_sided_tail(abs(t), freedom) == pytest.approx(2 * min(probability, 1 - probability), rel=1e-9)
        assert math.copysign(1, t) == (-1 if probability < 0.5 else 1)
    assert two_sided_tail(0, freedom) == 1 and two_sided_tail(math.inf, freedom) == 0
    assert math.isnan(two_sided_tail(1, 0)) and math.isnan(two_sided_tail(math.nan, freedom))


def bayes_factor(t: float, n: int) -> float:
    """The density of t, averaged over a normal prior of the effect size, divided by its density for an effect of 0."""
    spread = math.sqrt(t_tests._PRIOR_VARIANCE)
    effects = np.linspace(-10 * spread, 10 * spread, 2001)  # the ends do not count, so the sum is accurate
    densities = scipy.stats.nct.pdf(t, n - 1, effects * math.sqrt(n)) * scipy.stats.norm.pdf(effects, scale=spread)
    return float(densities.sum() * (effects[1] - effects[0]) / scipy.stats.t.pdf(t, n - 1))


@pytest.mark.parametrize(("t", "n"), [(0.3, 2), (2.5, 5), (4.0, 14), (2.0, 40), (-5.0, 40), (3.3, 120)])
def test_the_martingale_is_the_mixture_of_likelihood_ratios(t: float, n: int) -> None:
    expected = bayes_factor(t, n)
    assert SequentialTest(0.95).p_value(t, n) == pytest.approx(min(1, 1 / expected), rel=1e-6)
    k = 1 + n * t_tests._PRIOR_VARIANCE
    x = t * t / (n - 1)
    assert k**-0.5 * ((1 + x) / (1 + x / k)) ** (n / 2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_an_interval_ends_where_the_p_value_is_the_level(confidence: float) -> None:
    for test in (SequentialTest(confidence), StudentTest(confidence, 0.8)):
        for n in (14.5, 40, 1e3, 1e5):
            margin = test.margin(n)
            if margin < math.inf:
                assert test.p_value(margin, n) == pytest.approx(1 - confidence, rel=1e-9)
                assert test.p_value(-1.01 * margin, n) < 1 - confidence


def test_few_sequences_leave_a_sequential_interval_open_however_large_the_difference() -> None:
    test = SequentialTest(0.95)
    for n in (1.5, 2, 8, 12):
        assert test.margin(n) == math.inf and test.p_value(1e9, n) > 0.05 and test.p_value(math.inf, n) > 0.05
    assert test.margin(13) < math.inf and test.p_value(1e9, 13) < 0.05
    for other in (test, StudentTest(0.95, 0.8)):
        assert (
            math.isnan(other.margin(1)) and math.isnan(other.p_value(1, 1)) and math.isnan(other.p_value(math.nan, 9))
        )


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_the_needed_number_is_the_first_at_which_the_observed_difference_is_found(confidence: float) -> None:
    for test in (SequentialTest(confidence), StudentTest(confidence, 0.8)):
        for t, effective in itertools.product((0.1, 1.3, -6.0), (20.0, 13.7)):
            n = int(sequences_needed(test, t, 20, effective))
            reached = [
                abs(t) * math.sqrt(m / 20) >= test.needed(m * effective / 20) for m in range(2, min(n, 3000) + 9)
            ]
            assert n > 3000 or reached.index(True) + 2 == n
            assert n <= 3000 or not any(reached)
            assert sequences_needed(test, t / 2, 20, effective) > n
        assert math.isnan(sequences_needed(test, 0.0, 20, 20.0)) and math.isnan(
            sequences_needed(test, math.nan, 20, 20.0)
        )
        assert sequences_needed(test, 1e-12, 20, 20.0) == math.inf


def test_peeking_at_every_text_misleads_the_usual_interval_and_not_the_sequential_one() -> None:
    samples, slack = 1_000, 2 * math.sqrt(0.05 * 0.95 / 1_000)
    for name in list(DIFFERENCES)[:-2]:  # the last ones are the stated exceptions
        found = false_discoveries(name, samples, texts=200)
        once, often = (found["default", looks] for looks in ("one look", "all looks"))
        assert 0.05 - slack < once < 0.05 + slack and often > 0.3
        assert found["sequential", "all looks"] < 0.05 + slack


def test_a_larger_prior_variance_gives_wider_intervals_for_64_texts_and_more() -> None:
    usual, other = SequentialTest(0.95), SequentialTest(0.95, 1.0)
    assert usual.margin(50) > other.margin(50)
    assert all(other.margin(n) > usual.margin(n) for n in (64, 100, 500, 1e4, 1e6))


def test_a_sequential_interval_finds_a_true_difference() -> None:
    x = 0.5 + np.random.default_rng(1).standard_normal((400, 100))
    t = x.mean(1) / scipy.stats.sem(x, axis=1)
    assert (t > SequentialTest(0.95).margin(100)).mean() > 0.9
