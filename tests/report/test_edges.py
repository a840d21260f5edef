"""Reports and statistics at the ends of the range of float64, and of padded and empty batches."""

import math

import pytest
import torch

from tests.support.helpers import profile_of
from tests.support.reports import ROUNDING, statistics
from torchdivergence import ChiSquaredDivergence, DivergenceReport, DivergenceStatistics, KLDivergence

GENERATOR = torch.Generator().manual_seed(0)
P, Q = 3 * torch.randn(2, 12, 20, 8, generator=GENERATOR)
LENGTHS = torch.randint(1, 21, (12,), generator=GENERATOR)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_padding_does_not_change_the_bits_of_a_report(side: str, size: int) -> None:
    whole, padded = DivergenceReport(), DivergenceReport()
    for k in range(12):
        whole.update(P[k : k + 1, : LENGTHS[k]], Q[k : k + 1, : LENGTHS[k]])
    for texts in torch.arange(12).split(size):
        longest = int(LENGTHS[texts].max())
        positions = torch.arange(longest)
        shift = (longest - LENGTHS[texts])[:, None] * (side == "left")
        valid = (positions >= shift) & (positions < shift + LENGTHS[texts][:, None])
        index = (positions - shift).clamp(0, 19)[..., None].expand(-1, -1, 8)
        padded.update(P[texts].gather(1, index), Q[texts].gather(1, index), weights=valid)
    expected = whole.to_dict()
    assert padded.to_dict() == expected
    if side == "right":
        assert profile_of(padded) == profile_of(whole)


def test_the_standard_error_is_nan_or_large_if_squares_overflow() -> None:
    p = torch.zeros(1000, 2, dtype=torch.float64)
    q = torch.zeros(1000, 2, dtype=torch.float64)
    for gap in (356.0, 360.0, 400.0):
        p[0], q[0] = torch.tensor([0.0, -gap]), torch.tensor([-gap, 0.0])
        metric = DivergenceStatistics(ChiSquaredDivergence(log_prob=True))
        metric.update(p, q)
        found = metric.to_dict()
        assert found["mean"] == pytest.approx(math.exp(gap) / 1000)
        assert not found["standard_error"] < found["mean"] / 2


@pytest.mark.parametrize("size", [1e160, 1e-170])
def test_the_standard_error_is_nan_if_squared_weights_overflow_or_underflow(size: float) -> None:
    metric = statistics()
    metric.update(P[0], Q[0], torch.full((20,), size, dtype=torch.float64))
    assert math.isnan(metric.to_dict()["standard_error"])


@pytest.mark.parametrize("loss", [400.0, 800.0])
def test_a_perplexity_that_overflows_is_infinite_and_the_other_values_are_right(loss: float) -> None:
    p, q = torch.tensor([[0.0, loss], [0.0, loss + 1]]), torch.tensor([[1.0, loss], [0.0, loss - 1]])
    report = DivergenceReport()
    report.update(p, q, torch.tensor([0, 0]))
    found = report.to_dict()
    assert found["kl_mean"] == pytest.approx(KLDivergence(log_prob=True)(p, q).item(), rel=ROUNDING)
    assert found["perplexity_p"] == (pytest.approx(math.exp(loss + 0.5)) if loss < 700 else math.inf)
    assert found["log_perplexity_ratio"] == pytest.approx(-1.5)
    str(report)


def test_empty_texts_change_nothing() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    before = report.to_dict()
    report.update(P[:, :0], Q[:, :0], torch.zeros(12, 0, dtype=torch.long))
    report.update(P[:0], Q[:0])
    assert report.to_dict() == before


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_targets_may_be_any_integers(dtype: torch.dtype) -> None:
    target = torch.randint(0, 8, (12, 20), generator=GENERATOR)
    report, expected = DivergenceReport(), DivergenceReport()
    report.update(P, Q, target.to(dtype))
    expected.update(P, Q, target)
    assert report.to_dict() == expected.to_dict()
