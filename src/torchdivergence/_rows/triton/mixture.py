"""The Jensen-Shannon divergence near p = q, as a polynomial for the kernels."""

import math
from functools import cache

import torch

NEAR = 1.5
"""The largest log(p / q), in size, at which the polynomial is used."""
_DEGREE = 8


@cache
def mixture_polynomial(beta: float) -> tuple[float, ...]:
    """Coefficients, lowest first, of the summand over sqrt(p q) delta**2 as a function of delta = log(p / q)."""
    count = _DEGREE + 1
    nodes = [NEAR * math.cos(math.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    matrix = torch.tensor([[x**power for power in range(count)] for x in nodes], dtype=torch.float64, device="cpu")
    values = torch.tensor([_scaled_summand(x, beta) for x in nodes], dtype=torch.float64, device="cpu")
    return tuple(torch.linalg.solve(matrix, values).float().tolist())


def _scaled_summand(delta: float, beta: float) -> float:
    if abs(delta) < 1e-9:
        return beta * (1 - beta) / 2
    p, q = math.exp(delta / 2), math.exp(-delta / 2)
    m_over_p, m_over_q = (1 - beta) * math.expm1(-delta), beta * math.expm1(delta)  # less 1
    p_part, q_part = (x - math.log1p(x) for x in (m_over_p, m_over_q))
    return (beta * p * p_part + (1 - beta) * q * q_part) / delta**2
