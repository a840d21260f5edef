"""The divergences as functions: the metrics' numbers without their state, and with gradients.

All take the same arguments, and each has the metric of its name.
"""

import math
from typing import Protocol

from torch import Tensor

from torchdivergence import _rows
from torchdivergence._divergences import spec as _generators
from torchdivergence._divergences.docs import ALPHA, BETA, ORDER, function_doc
from torchdivergence._divergences.spec import Generator
from torchdivergence._extension import opaque
from torchdivergence._inputs.arguments import LogProb, Reduction, check_parameter, check_rows, check_settings
from torchdivergence._states import superaccumulator as _accumulators
from torchdivergence._states.reductions import divisor, reduce

__all__ = [
    "alpha_divergence",
    "chi_squared_divergence",
    "cross_entropy",
    "entropy",
    "hellinger_distance",
    "jeffreys_divergence",
    "jensen_shannon_divergence",
    "kl_divergence",
    "renyi_divergence",
    "reverse_kl_divergence",
    "squared_hellinger_distance",
    "total_variation_distance",
]


class _Function(Protocol):
    """What a divergence is called with."""

    def __call__(
        self,
        p: Tensor,
        q: Tensor,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: int = -1,
        temperature: float = 1.0,
        base: float | None = None,
        weights: Tensor | None = None,
    ) -> Tensor: ...


def _function(generator: Generator, own_doc: str) -> _Function:
    """The function of one row of the table."""

    def divergence(
        p: Tensor,
        q: Tensor,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: int = -1,
        temperature: float = 1.0,
        base: float | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        return _evaluate(generator, p, q, weights, log_prob, reduction, dim, temperature, base)

    divergence.__name__ = divergence.__qualname__ = generator.name
    divergence.__doc__ = function_doc(generator, own_doc)
    return divergence


kl_divergence = _function(
    _generators.KL,
    """The Kullback-Leibler divergence of p from q, one row or many.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import kl_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> kl_divergence(p, q)
        tensor(0.0853, dtype=torch.float64)
        >>> kl_divergence(p.log(), q, log_prob=(True, False), base=2)
        tensor(0.1231, dtype=torch.float64)
    """,
)

reverse_kl_divergence = _function(
    _generators.REVERSE_KL,
    """The Kullback-Leibler divergence of q from p: the arguments stay in the order (p, q).

    Example:
        >>> import torch
        >>> from torchdivergence.functional import reverse_kl_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> reverse_kl_divergence(p, q)
        tensor(0.0975, dtype=torch.float64)
    """,
)

jeffreys_divergence = _function(
    _generators.JEFFREYS,
    """Jeffreys' divergence, the sum of the two of Kullback and Leibler.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import jeffreys_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> jeffreys_divergence(p, q)
        tensor(0.1828, dtype=torch.float64)
    """,
)

total_variation_distance = _function(
    _generators.TOTAL_VARIATION,
    """The total variation distance: 1 less the acceptance rate when q drafts for p in speculative decoding.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import total_variation_distance
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> total_variation_distance(p, q)
        tensor(0.1733, dtype=torch.float64)
    """,
)

squared_hellinger_distance = _function(
    _generators.SQUARED_HELLINGER,
    """The squared Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import squared_hellinger_distance
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> squared_hellinger_distance(p, q)
        tensor(0.0226, dtype=torch.float64)
    """,
)

hellinger_distance = _function(
    _generators.HELLINGER,
    """The Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import hellinger_distance
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> hellinger_distance(p, q)
        tensor(0.1505, dtype=torch.float64)
    """,
)

chi_squared_divergence = _function(
    _generators.CHI_SQUARED,
    """Pearson's chi-squared divergence of p from q.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import chi_squared_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> chi_squared_divergence(p, q)
        tensor(0.1568, dtype=torch.float64)
    """,
)

cross_entropy = _function(
    _generators.CROSS_ENTROPY,
    """The cross-entropy of q under soft targets p: the entropy of p and the divergence of p from q, added.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import cross_entropy
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> cross_entropy(p, q)
        tensor(1.0986, dtype=torch.float64)
    """,
)

entropy = _function(
    _generators.ENTROPY,
    """The entropy of p; q has no part in it but that it must be a distribution, too.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import entropy
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> entropy(p, q)
        tensor(1.0133, dtype=torch.float64)
    """,
)


def jensen_shannon_divergence(
    p: Tensor,
    q: Tensor,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    beta: float = 0.5,
    dim: int = -1,
    temperature: float = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The Jensen-Shannon divergence, generalised by a weight beta of p in the mixture.

    As beta goes to 0, the value over beta goes to the divergence of Kullback and Leibler of p from q; as beta goes
    to 1, the value over 1 - beta to that of q from p.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import jensen_shannon_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> jensen_shannon_divergence(p, q)
        tensor(0.0225, dtype=torch.float64)
    """
    generator = _generators.jensen_shannon(check_parameter("beta", beta, 0, 1))
    return _evaluate(generator, p, q, weights, log_prob, reduction, dim, temperature, base)


def alpha_divergence(
    p: Tensor,
    q: Tensor,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    alpha: float,
    dim: int = -1,
    temperature: float = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The alpha-divergence; at alpha = 1 the divergence of Kullback and Leibler of p from q, at 0 that of q from p.

    At 2 it is half the chi-squared divergence, at 1/2 four times the squared Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import alpha_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> alpha_divergence(p, q, alpha=2)
        tensor(0.0784, dtype=torch.float64)
    """
    generator = _generators.alpha_divergence(check_parameter("alpha", alpha, -math.inf, math.inf))
    return _evaluate(generator, p, q, weights, log_prob, reduction, dim, temperature, base)


def renyi_divergence(
    p: Tensor,
    q: Tensor,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    alpha: float,
    dim: int = -1,
    temperature: float = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Rényi's divergence of order alpha > 0; at alpha = 1 the divergence of Kullback and Leibler.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import renyi_divergence
        >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
        >>> renyi_divergence(p, q, alpha=2)
        tensor(0.1457, dtype=torch.float64)
    """
    generator = _generators.renyi(check_parameter("alpha", alpha, 0, math.inf))
    return _evaluate(generator, p, q, weights, log_prob, reduction, dim, temperature, base)


for _parametrised, _row, _parameter in (
    (jensen_shannon_divergence, _generators.jensen_shannon(0.5), BETA),
    (alpha_divergence, _generators.alpha_divergence(2), ALPHA),
    (renyi_divergence, _generators.renyi(2), ORDER),
):
    _parametrised.__doc__ = function_doc(_row, _parametrised.__doc__ or "", _parameter)


@opaque
def _evaluate(
    generator: Generator,
    p: Tensor,
    q: Tensor,
    weights: Tensor | None,
    log_prob: LogProb,
    reduction: Reduction,
    dim: int,
    temperature: float,
    base: float | None,
) -> Tensor:
    settings = check_settings(log_prob, reduction, dim, temperature, base, generator.in_nats)
    rows = check_rows(p, q, weights, settings)
    values = _rows.divergence(rows.p, rows.q, settings.log_prob, settings.temperature, generator)
    weighed = _accumulators.weigh(values, rows.weights)
    if settings.reduction == "none":
        return weighed / settings.log_base
    weight = values.numel() if rows.weights is None else rows.weights.sum()
    value: Tensor = weighed.sum() / divisor(settings.reduction, weight, rows.items) / settings.log_base
    if value.device.type == "cpu":  # nothing to wait for: the bits that the metric gives
        state = _accumulators.add(_accumulators.zeros(values.device), values.detach(), rows.weights, rows.items)
        value.detach().fill_(reduce(_accumulators.totals(state), settings.reduction, settings.log_base))
    return value
