"""The functions: reductions, weights, units and the class dimension."""

import math

import pytest
import torch
from torch import Tensor

from tests.support.divergences import Divergence, every_divergence
from torchdivergence.functional import kl_divergence


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    p, q = torch.randn(2, 4, 6, 9).unbind()
    return p, q


def test_reductions_reduce_the_rows(logits: tuple[Tensor, Tensor]) -> None:
    rows = kl_divergence(*logits, True, "none")
    total = math.fsum(rows.flatten().tolist())
    assert rows.shape == (4, 6)
    assert torch.equal(rows, kl_divergence(*logits, True, None))
    assert kl_divergence(*logits, True, "sum").item() == total
    assert kl_divergence(*logits, True).item() == total / 24
    assert kl_divergence(*logits, True, "batchmean").item() == total / 4


@pytest.mark.parametrize("weights", [torch.rand(4, 6), torch.rand(6), torch.rand(4, 1), torch.rand(4, 6) < 0.5])
def test_rows_are_weighted(logits: tuple[Tensor, Tensor], weights: Tensor) -> None:
    rows, w = kl_divergence(*logits, True, "none"), weights.double().expand(4, 6)
    torch.testing.assert_close(kl_divergence(*logits, True, weights=weights), (rows * w).sum() / w.sum())
    torch.testing.assert_close(kl_divergence(*logits, True, "batchmean", weights=weights), (rows * w).sum() / 4)
    torch.testing.assert_close(kl_divergence(*logits, True, "none", weights=weights), rows * w)


@every_divergence
@pytest.mark.parametrize("weights", [torch.tensor([2, 0, 1]), torch.tensor([True, False, True])], ids=str)
def test_a_row_of_weight_zero_may_be_invalid(divergence: Divergence, weights: Tensor) -> None:
    p, q = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    valid = divergence.function(p[::2], q[::2], weights=weights[::2], **divergence.parameter)
    rows = divergence.rows(p, q, False)
    p[1] = math.nan
    assert torch.equal(divergence.function(p, q, weights=weights, **divergence.parameter), valid)
    assert torch.equal(divergence.rows(p, q, False, weights=weights), rows * weights.double())


def test_the_class_dimension_may_be_any() -> None:
    p, q = torch.randn(2, 2, 5, 3, 4).unbind()
    rows = kl_divergence(p, q, True, "none", dim=1)
    assert rows.shape == (2, 3, 4)
    assert torch.equal(rows, kl_divergence(p.movedim(1, -1), q.movedim(1, -1), True, "none"))
    assert torch.equal(rows, kl_divergence(p, q, True, "none", dim=-3))


def test_a_single_row_needs_no_batch_dimension() -> None:
    value = kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]), reduction="batchmean")
    assert value.item() == pytest.approx(0.5 * math.log(4 / 3))


def test_bits_are_nats_divided_by_log_2(logits: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(kl_divergence(*logits, True, base=2), kl_divergence(*logits, True) / math.log(2))


def test_the_mean_of_no_rows_is_nan() -> None:
    p = torch.rand(0, 3)
    assert kl_divergence(p, p).isnan()
    assert kl_divergence(p, p, reduction="sum") == 0
    assert kl_divergence(p, p, reduction="none").shape == (0,)
