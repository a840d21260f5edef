"""The value of a row, against 50-digit arithmetic and the laws of the Kullback-Leibler divergence."""

from math import inf, isinf

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpmath import mpf
from scipy.special import rel_entr
from torch import Tensor

from tests.support.definitions import kl_divergence as true_kl
from tests.support.definitions import near, relative_error
from tests.support.strategies import FINFO_MIN, logit_pairs, wide_pairs
from torchdivergence.functional import kl_divergence, total_variation_distance

CONTRACT = 2e-6  # relative error for float32, float16 and bfloat16
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def row_value(p: Tensor, q: Tensor, log_prob: bool | tuple[bool, bool] = True) -> float:
    return float(kl_divergence(p, q, log_prob))


@pytest.mark.parametrize("classes", [2, 3, 10, 41, 1000, 4097, 40_000])
@pytest.mark.parametrize("spread", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 10.0])
def test_logits_are_accurate(classes: int, spread: float, noise: float) -> None:
    for seed in range(10 if classes < 100 else 1):
        p, q = near(classes, spread, noise, seed=seed)
        truth = true_kl(p, q, log_prob=True)
        if truth >= 1e-9:
            assert relative_error(row_value(p, q), truth) <= CONTRACT


@pytest.mark.parametrize("noise", [1e-4, 1.0])
def test_the_largest_vocabulary_is_accurate(noise: float) -> None:
    p, q = near(128_256, 3.0, noise)
    assert relative_error(row_value(p, q), true_kl(p, q, log_prob=True)) <= CONTRACT


@pytest.mark.parametrize("dtype", DTYPES)
def test_narrow_inputs_are_exact_numbers(dtype: torch.dtype) -> None:
    p, q = near(1000, 3.0, 0.1, dtype)
    assert relative_error(row_value(p, q), true_kl(p, q, log_prob=True)) <= CONTRACT
    assert row_value(p, q) == row_value(p.float(), q.float())
    assert row_value(p, q) == pytest.approx(row_value(p.double(), q.double()), rel=2e-7)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("noise", [2e-3, 0.1, 3.0])
def test_float64_is_accurate_to_1e_12(classes: int, noise: float) -> None:
    for seed in range(5):
        p, q = near(classes, 5.0, noise, torch.float64, seed)
        truth = true_kl(p, q, log_prob=True)
        if truth >= 1e-6:
            assert relative_error(row_value(p, q), truth) <= 1e-12
            assert relative_error(row_value(p.exp(), q.exp(), False), true_kl(p.exp(), q.exp(), False)) <= 1e-12


@pytest.mark.parametrize("classes", [2, 10, 1000, 40_000])
@pytest.mark.parametrize("noise", [3e-3, 0.1, 3.0])
def test_probabilities_are_accurate(classes: int, noise: float) -> None:
    p, q = (row.softmax(-1) for row in near(classes, 2.0, noise))
    truth = true_kl(p, q, log_prob=False)
    assert truth >= 1e-7
    assert relative_error(row_value(p, q, False), truth) <= CONTRACT


def test_counts_and_mixed_scales_mean_the_same_distributions() -> None:
    counts, logits = torch.tensor([3, 0, 5, 8]), torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.bfloat16)
    truth = true_kl(counts, logits, (False, True))
    assert relative_error(row_value(counts, logits, (False, True)), truth) < 1e-14
    assert relative_error(row_value(logits, counts, (True, False)), true_kl(logits, counts, (True, False))) == 0


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(logit_pairs())
def test_any_row_is_right_or_infinite_and_never_nan(rows: tuple[Tensor, Tensor]) -> None:
    p, q = rows
    value, truth = row_value(p, q), true_kl(p, q, log_prob=True)
    assert value >= 0
    if truth >= 1e-9:
        assert relative_error(value, truth) <= CONTRACT
    else:
        assert abs(value - truth) <= 1e-15


@settings(deadline=None, max_examples=300)
@given(wide_pairs(), st.sampled_from([1.0, 2.0, 3.0, 1024.0]))
def test_any_row_of_many_classes_is_right_or_infinite(rows: tuple[Tensor, Tensor], temperature: float) -> None:
    p, q = rows
    truth = true_kl(p.double() / temperature, q.double() / temperature, log_prob=True)
    value = float(kl_divergence(p, q, True, temperature=temperature))
    assert value >= 0
    if truth >= 1e-9:
        assert relative_error(value, truth) <= CONTRACT
    else:
        assert abs(value - truth) <= 1e-14


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("classes", [10, 1000])
def test_the_default_dtype_does_not_matter(dtype: torch.dtype, classes: int) -> None:
    p, q = near(classes, 3.0, 0.01)
    expected = row_value(p, q)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # as Lightning does for precision="bf16-true"
    try:
        assert row_value(p, q) == expected
    finally:
        torch.set_default_dtype(before)


@settings(deadline=None, max_examples=100)
@given(logit_pairs())
def test_equal_rows_have_exactly_zero(rows: tuple[Tensor, Tensor]) -> None:
    assert row_value(rows[0], rows[0]) == 0


@pytest.mark.parametrize(
    ("p", "q", "value"),
    [
        ([0.0, -inf], [0.0, -inf], 0.0),
        ([0.0, -inf], [0.0, 0.0], np.log(2)),
        ([0.0, 0.0], [0.0, -inf], inf),
        ([0.0, -inf], [-inf, 0.0], inf),
        ([5.0], [-7.0], 0.0),
        ([0.0, -1000.0], [-1000.0, 0.0], 1000.0),
        ([0.0, FINFO_MIN], [0.0, FINFO_MIN], 0.0),
        ([0.0, FINFO_MIN], [0.0, 0.0], np.log(2)),
        ([0.0, 0.0], [0.0, FINFO_MIN], float(-mpf(FINFO_MIN) / 2)),
        ([0.0, FINFO_MIN], [0.0, -inf], inf),
    ],
)
def test_edges(p: list[float], q: list[float], value: float) -> None:
    assert row_value(torch.tensor(p), torch.tensor(q)) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("log_prob", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), inf, "no mass"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_row_that_is_no_distribution_is_nan_and_its_neighbours_are_not(
    log_prob: bool, bad: float | str, side: int
) -> None:
    rows = [torch.rand(3, 5), torch.rand(3, 5)]
    if bad == "no mass":
        rows[side][1] = -inf if log_prob else 0.0
    else:
        rows[side][1, 2] = bad
    assert kl_divergence(*rows, log_prob, "none").isnan().tolist() == [False, True, False]


def test_a_negative_probability_is_no_distribution() -> None:
    assert kl_divergence(torch.tensor([0.5, -0.1, 0.6]), torch.tensor([0.5, 0.1, 0.4])).isnan()


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7), 20), rng.dirichlet(np.ones(7), 20)
    expected = torch.from_numpy(rel_entr(p, q).sum(-1))
    torch.testing.assert_close(kl_divergence(torch.from_numpy(p), torch.from_numpy(q), False, "none"), expected)


def test_torch_agrees() -> None:
    p, q = torch.randn(2, 30, 50, dtype=torch.float64).unbind()
    expected = torch.nn.functional.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none")
    torch.testing.assert_close(kl_divergence(p, q, True, "none"), expected.sum(-1))


def test_two_normal_families_agree_with_their_closed_form() -> None:
    k = torch.arange(2000, dtype=torch.float64)
    a, b = 0.7, 0.55  # geometric distributions: (1 - a) a^k
    closed = np.log((1 - a) / (1 - b)) + a / (1 - a) * np.log(a / b)
    assert row_value(k * np.log(a), k * np.log(b)) == pytest.approx(closed, rel=1e-13)


@pytest.mark.parametrize("classes", [1, 2, 7, 10, 1000, 33_000, 70_000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_has_the_same_bits_in_any_company(classes: int, threads: int) -> None:
    p, q = torch.randn(2, 7, classes).unbind()
    together = kl_divergence(p, q, True, "none")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = torch.stack([kl_divergence(x, y, True, "none") for x, y in zip(p, q, strict=True)])
        repeated = kl_divergence(p.repeat(9, 1), q.repeat(9, 1), True, "none")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, together)
    assert torch.equal(repeated, together.repeat(9))


@pytest.mark.parametrize("shape", [(6, 5, 4, 50), (3, 2, 40, 1000), (2, 3, 2, 40_000)])
def test_memory_layout_does_not_change_a_row(shape: tuple[int, ...]) -> None:
    p, q = torch.randn(2, *shape).unbind()
    expected = kl_divergence(p, q, True, "none")
    for order in [(0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)]:
        back = torch.tensor(order).argsort().tolist()
        p_, q_ = (x.permute(order).contiguous().permute(back) for x in (p, q))
        assert torch.equal(kl_divergence(p_, q_, True, "none"), expected)
    every_other = torch.stack([p, p], -1).flatten(-2)[..., ::2]
    assert torch.equal(kl_divergence(every_other, q, True, "none"), expected)


def test_expanded_inputs_need_no_copy() -> None:
    p, q = torch.randn(1, 30), torch.randn(7, 30)
    assert torch.equal(kl_divergence(p.expand_as(q), q, True, "none"), kl_divergence(p.repeat(7, 1), q, True, "none"))


def test_an_infinite_row_is_a_value() -> None:
    assert isinf(row_value(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), False))


@pytest.mark.parametrize(
    ("classes", "top", "step"), [(1000, 0.5, 2**-24), (128_256, 0.5, 2**-24), (128_256, 0.0, 1e-6)]
)
def test_a_row_that_differs_in_its_largest_class_alone_keeps_its_digits(classes: int, top: float, step: float) -> None:
    p = torch.zeros(classes)
    p[0] = top
    q = p.clone()
    q[0] += step
    shares = []
    for weight in (mpmath.exp(float(x[0])) for x in (p, q)):
        total = weight + classes - 1
        shares.append((weight / total, 1 / total))
    (p_top, p_rest), (q_top, q_rest) = shares
    kl = p_top * mpmath.log(p_top / q_top) + (classes - 1) * p_rest * mpmath.log(p_rest / q_rest)
    assert relative_error(kl_divergence(p, q, log_prob=True), kl) < 2e-6
    assert relative_error(total_variation_distance(p, q, log_prob=True), abs(p_top - q_top)) < 2e-6
