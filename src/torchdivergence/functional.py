"""The divergences as functions, with gradients: the values of the metrics without a state.

All functions take the same arguments. Each has a metric with a similar name. Their docstrings come from the
declarations in ``_divergences``.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from torch import Tensor

from torchdivergence import _divergences
from torchdivergence._compile import dynamo_disable
from torchdivergence._divergences import DivergenceSpec
from torchdivergence._divergences.docs import function_doc
from torchdivergence._inputs.settings import LogProb, Reduction, check_settings
from torchdivergence._inputs.tensors import check_rows
from torchdivergence._rows import row_divergence
from torchdivergence._states.part import DIVERGENCE, RowBatch, weighted
from torchdivergence._states.row_totals import RowTotals, divisor, reduce

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

_TOTALS = RowTotals()


class _Function(Protocol):
    """The signature of a divergence without a parameter."""

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


_F = TypeVar("_F", bound=Callable[..., Tensor])


def _named(spec: DivergenceSpec) -> Callable[[_F], _F]:
    """Give a function the name and the docstring of a divergence."""

    def name(function: _F) -> _F:
        function.__name__ = function.__qualname__ = spec.function
        function.__doc__ = function_doc(spec)
        return function

    return name


def make_function(spec: DivergenceSpec) -> _Function:
    """The function of a divergence without a parameter."""

    @_named(spec)
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
        return _evaluate(spec, None, p, q, weights, log_prob, reduction, dim, temperature, base)

    return divergence


kl_divergence = make_function(_divergences.KL)
reverse_kl_divergence = make_function(_divergences.REVERSE_KL)
jeffreys_divergence = make_function(_divergences.JEFFREYS)
total_variation_distance = make_function(_divergences.TOTAL_VARIATION)
squared_hellinger_distance = make_function(_divergences.SQUARED_HELLINGER)
hellinger_distance = make_function(_divergences.HELLINGER)
chi_squared_divergence = make_function(_divergences.CHI_SQUARED)
cross_entropy = make_function(_divergences.CROSS_ENTROPY)
entropy = make_function(_divergences.ENTROPY)


@_named(_divergences.JENSEN_SHANNON)
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
    spec = _divergences.JENSEN_SHANNON
    return _evaluate(spec, beta, p, q, weights, log_prob, reduction, dim, temperature, base)


@_named(_divergences.ALPHA)
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
    return _evaluate(_divergences.ALPHA, alpha, p, q, weights, log_prob, reduction, dim, temperature, base)


@_named(_divergences.RENYI)
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
    return _evaluate(_divergences.RENYI, alpha, p, q, weights, log_prob, reduction, dim, temperature, base)


@dynamo_disable
def _evaluate(
    spec: DivergenceSpec,
    parameter: float | None,
    p: Tensor,
    q: Tensor,
    weights: Tensor | None,
    log_prob: LogProb,
    reduction: Reduction,
    dim: int,
    temperature: float,
    base: float | None,
) -> Tensor:
    divergence = spec.at(spec.check_parameter(parameter))
    settings = check_settings(log_prob, reduction, dim, temperature, base, spec.has_log_unit)
    rows = check_rows(p, q, weights, settings)
    values = row_divergence(rows.p, rows.q, settings.log_prob, settings.temperature, divergence)
    products = weighted(values, rows.weights)
    if settings.reduction == "none":
        return products / settings.log_base
    weight = values.numel() if rows.weights is None else rows.weights.sum()
    value: Tensor = products.sum() / divisor(settings.reduction, weight, rows.items) / settings.log_base
    if value.device.type == "cpu":  # the bits of the metric, since there is no device to wait for
        state = _TOTALS.empty()
        _TOTALS.accumulate_(state, RowBatch({DIVERGENCE: values.detach()}, rows.weights, rows.items))
        value.detach().fill_(reduce(_TOTALS.read(state), settings.reduction, settings.log_base))
    return value
