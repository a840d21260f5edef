"""The accuracy that the docstrings state for rows, and the rounding errors that float64 makes unavoidable."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tests.support.bulk_definitions import NormalizedPair, largest_power_log
from tests.support.divergences import FIRST_ORDER, Divergence

RELATIVE_ERROR = 2e-6
"""For float32, float16 and bfloat16, of values of at least ``FLOOR``."""
FLOOR = 1e-9
RELATIVE_ERROR_FLOAT64 = 1e-12
"""For float64 logits, of values of at least 1e-6, or 1e-3 for divergences of first order."""
ROUNDING = 1e-15
"""The absolute error of smaller values: that of a probability, or of a difference of two logarithms."""


def stated_error(
    divergence: Divergence, dtypes: tuple[torch.dtype, ...], log_prob: tuple[bool, bool]
) -> tuple[float, float]:
    """The relative error that the docstrings state, and the smallest value that they state it for."""
    accuracy, logits = divergence.accuracy, all(log_prob)
    if all(dtype.is_floating_point and dtype.itemsize < 8 for dtype in dtypes):
        return accuracy.narrow, accuracy.narrow_floor[0 if logits else 1]
    return accuracy.float64[0 if logits else 1], accuracy.float64_floor


@np.errstate(invalid="ignore")  # inf * 0 in infinite rows
def allowed_error(
    divergence: Divergence,
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool],
    pair: NormalizedPair,
    truth: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """The absolute error allowed for each row."""
    relative, floor = stated_error(divergence, (p.dtype, q.dtype), log_prob)
    error = np.where(truth >= floor, relative * truth, ROUNDING)
    size = sum(_log_size(x) for x, is_log in zip((p, q), log_prob, strict=True) if not is_log)
    # The logarithm of a weight far from 1, such as a count, is rounded relative to its own size; so is log(p / q),
    # whose error counts in second order near 0, except for the distances of first order.
    linear = divergence in FIRST_ORDER or not divergence.zero_iff_equal
    error = error + 2.0**-51 * size * (1 + truth if linear else 4 * (truth + np.sqrt(truth)))
    if divergence.accuracy.powers:
        # A power of a probability is the exponential of its logarithm, which is rounded relative to its own size.
        error = error + 2.0**-50 * largest_power_log(divergence, pair) * (1 + truth)
    return np.nan_to_num(error, nan=0.0, posinf=0.0)


def _log_size(weights: Tensor) -> npt.NDArray[Any]:
    """The absolute value of the logarithm of the largest weight of each row."""
    top = weights.double().amax(-1).clamp(min=math.ulp(0.0))
    return np.nan_to_num(top.log().abs().numpy(), posinf=0.0)
