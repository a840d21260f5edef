"""The divergences as functions: the metrics' numbers without their state, and with gradients."""

from torch import Tensor

from torchdivergence import _accumulators, _generators, _rows
from torchdivergence._inputs import LogProb, Reduction, Settings, check_rows, check_settings
from torchdivergence._reductions import reduce

__all__ = ["kl_divergence"]


def kl_divergence(
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
    r"""The Kullback-Leibler divergence of p from q, one row or many.

    .. math:: D(p \| q) = \sum_i p_i \log \frac{p_i}{q_i}

    Each row is normalised first. A row's value is never negative, and exactly 0 if p and q are equal. Its relative
    error is at most 2e-6, for float16, bfloat16 and float32 inputs, whose numbers are taken as exact, if the value
    is at least 1e-9 (for probabilities 1e-7); for float64 it is at most 1e-12 from 1e-6 on.

    Args:
        p: The first distribution of each row (data, teacher, reference): any shape, classes along ``dim``.
        q: The second (model, student, approximation): the shape of p; its dtype may differ.
        log_prob: False for probabilities or counts, which need not sum to 1; True for log-probabilities or
            logits, to which any constant may be added. A pair of bools says it for p and for q.
        reduction: What becomes of the rows:

            - ``"mean"``: their mean, with the weights;
            - ``"batchmean"``: their sum over the size of the first batch dimension, as in
              :class:`torch.nn.KLDivLoss`;
            - ``"sum"``: their sum;
            - ``"none"`` or None: nothing, the result has the batch shape (that of p without ``dim``).
        dim: The class dimension.
        temperature: What the logits of both p and q are divided by before they are normalised, as in distillation;
            only where both are logarithms. The value is that of softmax(logits / T): there is no factor T**2.
        base: The unit: None for nats, 2 for bits, 10 for bans.
        weights: Weights of the rows, finite and >= 0, broadcastable to the batch shape; a bool mask, for one.
            A row of weight zero is left out whatever it holds; under ``"none"`` it gives 0.

    Returns:
        The divergence in float64. It is infinite where q = 0 < p for a class, and NaN for a row that holds NaN,
        a negative probability or +inf, or that has no mass at all. 0 log 0 is 0. With no rows, ``"mean"`` and
        ``"batchmean"`` give NaN.

    Raises:
        TypeError: If p or q is no real tensor, or announced as logarithms and not floating point.
        ValueError: If shapes or devices differ, weights do not broadcast or are negative, or a name is unknown.
        IndexError: If there is no dimension ``dim``.

    Gradients reach p and q. They are finite wherever the value is; in a probability p = 0 the slope, which is
    infinite, is taken at p / q = exp(-60), and it is 0 in rows of infinite divergence.

    Example:
        >>> import torch
        >>> from torchdivergence.functional import kl_divergence
        >>> p = torch.tensor([[0.36, 0.48, 0.16]])
        >>> q = torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> kl_divergence(p, q)
        tensor(0.0853, dtype=torch.float64)
        >>> kl_divergence(p.log(), q, log_prob=(True, False), base=2)
        tensor(0.1231, dtype=torch.float64)

    Source: S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), eq. 2.4.
    """
    return _evaluate(_generators.KL, p, q, weights, check_settings(log_prob, reduction, dim, temperature, base))


def _evaluate(
    generator: _generators.Generator, p: Tensor, q: Tensor, weights: Tensor | None, settings: Settings
) -> Tensor:
    rows = check_rows(p, q, weights, settings)
    values = _rows.divergence(rows.p, rows.q, settings.log_prob, settings.temperature, generator)
    weighed = _accumulators.weigh(values, rows.weights)
    if settings.reduction == "none":
        return weighed / settings.log_base
    weight = values.numel() if rows.weights is None else rows.weights.sum()
    divisor = {"mean": weight, "batchmean": rows.items, "sum": 1}[settings.reduction]
    value: Tensor = weighed.sum() / divisor / settings.log_base
    if value.device.type == "cpu":  # nothing to wait for: the bits that the metric gives
        state = _accumulators.add(_accumulators.zeros(), values.detach(), rows.weights, rows.items)
        value.detach().fill_(reduce(_accumulators.totals(state), settings.reduction, settings.log_base))
    return value
