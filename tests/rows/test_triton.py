"""The Triton kernel, against 50-digit arithmetic and the reference backend; interpreted if there is no GPU."""

from math import inf, nan

import pytest
import torch
from torch import Tensor

from tests.support.backends import reference, specs
from tests.support.definitions import kl_divergence as true_kl
from tests.support.definitions import near, relative_error
from tests.support.strategies import FINFO_MIN
from tests.support.tolerances import FLOOR, RELATIVE_ERROR
from torchdivergence import KLDivergence

triton = pytest.importorskip("torchdivergence._rows.triton_kl")

pytestmark = [
    # The interpreter computes both branches of a tl.where with numpy.
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
    # The interpreter of Triton before 3.6
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"),
]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def by_kernel(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = (True, True), temperature: float = 1.0) -> Tensor:
    return triton.term_sums(p.to(DEVICE), q.to(DEVICE), log_prob, temperature, specs.KL.at().terms)[0].cpu()


def by_reference(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = (True, True), temperature: float = 1.0) -> Tensor:
    return reference.term_sums(p, q, log_prob, temperature, specs.KL.at().terms)[0]


@pytest.mark.parametrize("classes", [1, 2, 3, 41, 1271, 4097, 49_152])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 10.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_of_any_number_of_classes_agree(classes: int, noise: float, dtype: torch.dtype) -> None:
    p, q = (torch.stack(x) for x in zip(*(near(classes, 5.0, noise, dtype, seed) for seed in range(3)), strict=True))
    expected = by_reference(p, q + 9)
    torch.testing.assert_close(by_kernel(p, q + 9), expected, rtol=RELATIVE_ERROR, atol=1e-15)


@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("noise", [1e-4, 0.1, 10.0])
def test_rows_of_the_kernel_are_accurate(spread: float, noise: float) -> None:
    for seed in range(5):
        p, q = near(41, spread, noise, seed=seed)
        truth = true_kl(p, q, log_prob=True)
        if truth >= FLOOR:
            assert relative_error(by_kernel(p, q), truth) <= RELATIVE_ERROR


@pytest.mark.parametrize("log_prob", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("classes", [3, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_agree_with_the_reference(log_prob: tuple[bool, bool], classes: int, dtype: torch.dtype) -> None:
    rows = near(classes, 2.0, 0.1)
    p, q = ((x if is_log else x.softmax(-1)).to(dtype) for x, is_log in zip(rows, log_prob, strict=True))
    torch.testing.assert_close(by_kernel(p, q, log_prob), by_reference(p, q, log_prob), rtol=RELATIVE_ERROR, atol=0)


@pytest.mark.parametrize("temperature", [0.7, 4.0])
def test_temperatures_agree_with_the_reference(temperature: float) -> None:
    p, q = near(5000, 5.0, 0.01)
    scaled = (True, True), temperature
    torch.testing.assert_close(by_kernel(p, q, *scaled), by_reference(p, q, *scaled), rtol=RELATIVE_ERROR, atol=0)


EDGES = {
    "masked in both": ([0.0, -inf], [0.0, -inf]),
    "masked in p": ([0.0, -inf], [0.0, 0.0]),
    "masked in q": ([0.0, 0.0], [0.0, -inf]),
    "disjoint": ([0.0, -inf], [-inf, 0.0]),
    "a gap": ([0.0, -1000.0], [-1000.0, 0.0]),
    "a finite mask in p": ([0.0, FINFO_MIN], [0.0, 0.0]),
    "a finite mask in q": ([0.0, 0.0], [0.0, FINFO_MIN]),
    "a finite mask at the top": ([FINFO_MIN, -inf], [0.0, 0.0]),
    "NaN": ([nan, 0.0], [0.0, 0.0]),
    "inf": ([0.0, 0.0], [inf, 0.0]),
    "no mass": ([-inf, -inf], [0.0, 0.0]),
}


@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("apart", [0, 4095, 9000])
def test_special_rows_within_one_block_and_across_blocks_agree_with_the_reference(case: str, apart: int) -> None:
    p, q = (torch.tensor([a, *[-inf] * apart, b]) for a, b in EDGES[case])
    torch.testing.assert_close(by_kernel(p, q), by_reference(p, q), rtol=RELATIVE_ERROR, atol=0, equal_nan=True)


def test_equal_rows_have_exactly_zero_in_the_kernel() -> None:
    p = torch.randn(4, 9000) * 30
    assert not by_kernel(p, p).any()


@pytest.mark.parametrize("bad", [-0.1, nan, inf])
def test_invalid_probabilities_are_nan_in_the_kernel(bad: float) -> None:
    p = torch.rand(2, 5)
    p[0, 3] = bad
    assert by_kernel(p, torch.rand(2, 5), (False, False)).isnan().tolist() == [True, False]


def test_any_strides_agree_with_the_reference() -> None:
    p, q = torch.randn(2, 3, 50, 4, 13).transpose(2, 4)[:, :, ::4].unbind()
    torch.testing.assert_close(by_kernel(p, q), by_reference(p, q), rtol=RELATIVE_ERROR, atol=0)
    expanded = p[:1].expand_as(q)
    torch.testing.assert_close(by_kernel(expanded, q), by_reference(expanded, q), rtol=RELATIVE_ERROR, atol=0)


def test_the_kernel_accepts_no_rows() -> None:
    assert by_kernel(torch.rand(0, 3), torch.rand(0, 3)).shape == (0,)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("weighted", [False, True])
def test_an_update_does_not_synchronise_with_the_device(weighted: bool) -> None:
    p, q = torch.randn(2, 64, 5000, device=DEVICE).unbind()
    weights = torch.rand(64, device=DEVICE) if weighted else None
    metric = KLDivergence(log_prob=True).to(DEVICE)
    metric.update(p, q, weights)  # compiling and loading may synchronise
    torch.cuda.set_sync_debug_mode("error")
    try:
        metric.update(p, q, weights)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(
        metric.compute().cpu(), KLDivergence(True)(p.cpu(), q.cpu(), None if weights is None else weights.cpu())
    )
