"""What the docstrings promise of a row's value, and what float64 cannot hold to."""

import math

import numpy as np
import torch
from torch import Tensor

from tests.support.bulk_definitions import Shares, largest_power_log
from tests.support.divergences import HELLINGER, TOTAL_VARIATION, Member

ROUNDING = 1e-15  # below the values of which something is promised: the error of a share
FIRST_ORDER = (TOTAL_VARIATION, HELLINGER)


def promised(member: Member, dtypes: tuple[torch.dtype, ...], log_prob: tuple[bool, bool]) -> tuple[float, float]:
    """A relative error, and the value from which on it is promised."""
    if all(dtype.is_floating_point and dtype.itemsize < 8 for dtype in dtypes):
        return 2e-6, 1e-9 if all(log_prob) else 1e-7
    return 1e-12 if all(log_prob) else 1e-10, 1e-3 if member in FIRST_ORDER else 1e-6


@np.errstate(invalid="ignore")  # inf * 0, of rows that are infinite
def allowed(
    member: Member, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], shares: Shares, truth: np.ndarray
) -> np.ndarray:
    """The error that each row may have."""
    relative, floor = promised(member, (p.dtype, q.dtype), log_prob)
    error = np.where(truth >= floor, relative * truth, ROUNDING)
    size = sum(_log_size(x) for x, is_log in zip((p, q), log_prob, strict=True) if not is_log)
    # The logarithm of a weight far from 1, as of a count, is rounded to its own size; so are the deltas, and it
    # counts in second order near 0, but for the distances of first order.
    slip = 2.0**-51 * size
    error = error + slip * (1 + truth if member in FIRST_ORDER or not member.compares else 4 * (truth + np.sqrt(truth)))
    if {"chi_squared", "alpha", "renyi"} & {member.definition.__name__}:
        # A power of a share is the exponential of its logarithm, which is rounded to its own size.
        error = error + 2.0**-50 * largest_power_log(member, shares) * (1 + truth)
    return np.nan_to_num(error, nan=0.0, posinf=0.0)


def _log_size(weights: Tensor) -> np.ndarray:
    """How far from 0 the logarithms of the largest weights are."""
    top = weights.double().amax(-1).clamp(min=math.ulp(0.0))
    return np.nan_to_num(top.log().abs().numpy(), posinf=0.0)
