"""Invalid rows are counted, and treated as nan_policy says."""

import math

import pytest
import torch

from tests.support.helpers import Reduction, Snapshot, assert_same_bits, kl_after, pair
from torchdivergence import KLDivergence

VALID = [0.5, 0.5, 0.0, 0.0]
ROWS = [VALID, [math.nan, 0.5, 0.0, 0.5], [-0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]
INVALID = torch.tensor(ROWS), torch.ones(4, 4)
"""One valid row and three invalid ones."""

some_reductions = pytest.mark.parametrize("reduction", ["mean", "none"])


@some_reductions
def test_nan_policy_raise_raises_in_compute_and_not_in_update(reduction: Reduction) -> None:
    metric = KLDivergence(nan_policy="raise", reduction=reduction)
    metric.update(*INVALID)
    before = Snapshot(metric)
    for _ in range(2):
        with pytest.raises(ValueError, match="number of invalid rows is 3"):
            metric.compute()
    before.assert_unchanged()
    metric.update(INVALID[0][1:2], torch.ones(1, 4))
    with pytest.raises(ValueError, match="number of invalid rows is 4"):
        metric.compute()
    metric.reset()
    metric.update(*pair())
    assert_same_bits(metric.compute(), kl_after(pair(), reduction=reduction).compute())


@some_reductions
def test_nan_policy_raise_refuses_a_batch_in_forward_which_computes_its_value(reduction: Reduction) -> None:
    metric = kl_after(pair(), nan_policy="raise", reduction=reduction)
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="number of invalid rows is 3"):
        metric(*INVALID)
    before.assert_unchanged()


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
def test_nan_policy_omit_leaves_invalid_rows_out_and_counts_them(reduction: Reduction) -> None:
    metric = kl_after(pair(), INVALID, nan_policy="omit", reduction=reduction)
    assert metric.n_invalid == 3
    valid = pair(), (torch.tensor([VALID]), torch.ones(1, 4))
    if reduction == "batchmean":  # the divisor still counts their items
        total = kl_after(*valid, reduction="sum").compute()
        assert_same_bits(metric.compute(), total / 9)
    else:
        assert_same_bits(metric.compute(), kl_after(*valid, reduction=reduction).compute())


@some_reductions
def test_nan_policy_propagate_makes_the_value_nan_and_counts_invalid_rows(reduction: Reduction) -> None:
    metric = kl_after(pair(), INVALID, reduction=reduction)
    assert metric.n_invalid == 3
    assert metric.compute().isnan().sum() == (3 if reduction == "none" else 1)
