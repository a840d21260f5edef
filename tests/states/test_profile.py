"""The mean divergence by position in the sequence."""

import torch

from tests.support.definitions import near
from tests.support.helpers import profile_of
from torchdivergence import DivergenceReport
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
