"""The gradients of rows in plain torch operations, which can be differentiated as often as wanted, in any direction.

They are slower than the reference backend's and allocate more: only derivatives of gradients need them.
"""

import math

from torch import Tensor

from torchdivergence._divergences import by_key
from torchdivergence._divergences.pair import DifferentiablePair
from torchdivergence._rows.operators import side_flags

_LOG_ZERO = -1e100  # instead of -inf: finite, and exp of it times anything is 0
_STEP = 1e-8  # instead of 0: balances the error of the step with the rounding error that it magnifies


def differentiable_gradients(
    grad_output: Tensor,
    values: Tensor,
    p: Tensor,
    q: Tensor,
    log_prob: int,
    temperature: float,
    divergence: str,
    sides: int,
) -> tuple[Tensor, Tensor]:
    """The result of the operator ``row_gradients_by_masses``.

    Gradients are zero in rows of infinite value, and in invalid rows on which nothing depends. At a probability of 0
    their derivatives are accurate to about 1e-7, where they exist.
    """
    numerics, are_logs = by_key(divergence), side_flags(log_prob)
    zero_rows = (values == math.inf) | (values.isnan() & (grad_output == 0))
    masked = zero_rows.unsqueeze(-1)
    a, b = _finite_log_weights((p, q), are_logs, temperature, masked)
    pair = DifferentiablePair(a, b)
    outer = grad_output * numerics.finalize_grad(values.masked_fill(zero_rows, 0.0))
    grads = []
    for x, log_weight, share, log_grad, is_log, need in zip(
        (p, q), (a, b), (pair.p, pair.q), numerics.log_grads(pair), are_logs, side_flags(sides), strict=True
    ):
        part = log_grad - share * log_grad.sum(-1, keepdim=True)
        part = part / temperature if is_log else part / log_weight.exp()
        part = (part * outer.unsqueeze(-1)).masked_fill(masked, 0.0).to(x.dtype)
        grads.append(part if need else x.new_empty(0))
    return grads[0], grads[1]


def _finite_log_weights(
    sides: tuple[Tensor, Tensor], log_prob: tuple[bool, bool], temperature: float, masked: Tensor
) -> list[Tensor]:
    """Log-weights. A weight of 0 is replaced by 1e-8 of the other side's, and its derivative is kept."""
    weights = [
        x.double().masked_fill(masked, 0.0 if is_log else 1.0) for x, is_log in zip(sides, log_prob, strict=True)
    ]
    shares = [
        x.detach().softmax(-1) if is_log else (x / x.sum(-1, keepdim=True)).detach()
        for x, is_log in zip(weights, log_prob, strict=True)
    ]
    logs = []
    for x, is_log, other in zip(weights, log_prob, reversed(shares), strict=True):
        if is_log:
            # not amax, which DTensor of torch 2.6 does not know
            centered = (x - x.detach().max(-1, keepdim=True).values) / temperature
            logs.append(centered.masked_fill(centered < _LOG_ZERO, _LOG_ZERO))
        else:
            least = other.masked_fill(other == 0, 1.0) * x.detach().sum(-1, keepdim=True) * _STEP
            logs.append((x + least.masked_fill(x != 0, 0.0)).log())
    return logs
