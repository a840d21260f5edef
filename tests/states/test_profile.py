"""The mean divergence by position in the sequence, with clustered errors."""

import math

import numpy as np
import pytest
import torch

from tests.support.definitions import near
from tests.support.helpers import profile_of
from torchdivergence import DivergenceReport
from torchdivergence._states.part import DIVERGENCE, RowBatch
from torchdivergence._states.profile import _ENDS, _STARTS, Profile
from torchdivergence.functional import kl_divergence

LENGTH = 40


def test_the_profile_has_the_mean_of_each_range_of_positions() -> None:
    p, q = near((6, LENGTH, 30), 3.0, 0.3)
    report = DivergenceReport()
    report.update(p, q)
    report.compute()
    kl = kl_divergence(p, q, log_prob=True, reduction="none")
    bins = profile_of(report)
    assert [x for b in bins for x in range(b.first, b.last + 1)][:LENGTH] == list(range(LENGTH))
    for b in bins:
        torch.testing.assert_close(b.mean.value, kl[:, b.first : b.last + 1].mean().item(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("inner", [(), (3,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_bin_has_the_errors_of_its_rows_in_numpy(weighted: bool, inner: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(8, *inner, LENGTH, generator=generator, dtype=torch.float64).exp()
    weights = torch.rand(values.shape, generator=generator, dtype=torch.float64)
    weights = weights * (weights > 0.3) if weighted else torch.ones_like(weights)
    part = Profile(DIVERGENCE)
    state = part.empty()
    for half in slice(0, 3), slice(3, 8):
        batch = values[half], weights[half]
        part.accumulate_(state, RowBatch({DIVERGENCE: batch[0]}, batch[1] if weighted else None, len(batch[0])))
    bins = part.read(state)
    assert bins[-1].first < LENGTH <= bins[-1].last + 1
    for b in bins:
        x, w = (y[..., b.first : b.last + 1].flatten(1).numpy() for y in (values, weights))
        mean = (w * x).sum() / w.sum()
        units = w * (x - mean)
        counts = (w > 0).sum(), (w > 0).any(1).sum()
        squares = (units**2).sum(), (units.sum(1) ** 2).sum()
        errors = [math.sqrt(n / (n - 1) * s) / w.sum() for n, s in zip(counts, squares, strict=True)]
        np.testing.assert_allclose(b.mean, [mean, *errors], rtol=1e-12)
        assert b.rows == (w > 0).sum()
        assert math.isclose(b.sequences, w.sum() ** 2 / (w.sum(1) ** 2).sum(), rel_tol=1e-12)


def test_every_position_is_in_one_bin_that_is_at_most_a_quarter_octave_wide() -> None:
    assert _STARTS[0] == 0 and list(_ENDS[:-1]) == _STARTS[1:] and sorted({*_ENDS}) == list(_ENDS)
    for start, end in zip(_STARTS[:-1], _ENDS[:-1], strict=True):
        assert end - start <= max(1, (start + 1) / 4)
