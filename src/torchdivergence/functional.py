"""The divergences as functions, with gradients: the values of the metrics without a state.

All functions take the same arguments. Each has a metric with a similar name. Their docstrings come from the
declarations in ``_divergences``.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from torch import Tensor

from torchdivergence._divergences import SPECS, DivergenceSpec
from torchdivergence._divergences.docs import function_doc
from torchdivergence._inputs.names import refuse_other_names
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import Dim, LogProb, Reduction, check_settings
from torchdivergence._inputs.temperature import apply_temperature
from torchdivergence._inputs.tensors import check_rows
from torchdivergence._rows import row_divergence
from torchdivergence._states.exact_sum import exact_sum
from torchdivergence._states.part import weighted
from torchdivergence._states.row_totals import divisor

__all__ = [
    "alpha_divergence",
    "chi_squared_divergence",
    "cross_entropy",
    "entropy",
    "expected_acceptance",
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
    """The signature of a divergence without a parameter."""

    def __call__(
        self,
        p: Side,
        q: Side,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: Dim = -1,
        temperature: float | Tensor = 1.0,
        base: float | None = None,
        weights: Tensor | None = None,
    ) -> Tensor: ...


_F = TypeVar("_F", bound=Callable[..., Tensor])


def _named(spec: DivergenceSpec) -> Callable[[_F], _F]:
    """Give a function the name and the docstring of a divergence."""

    def name(function: _F) -> _F:
        function.__name__ = function.__qualname__ = spec.function
        function.__doc__ = function_doc(spec)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Tensor:
            if kwargs:
                refuse_other_names(kwargs, allow_target=False)
            return function(*args, **kwargs)

        return cast("_F", call)

    return name


def make_function(spec: DivergenceSpec) -> _Function:
    """The function of a divergence without a parameter."""

    @_named(spec)
    def divergence(
        p: Side,
        q: Side,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: Dim = -1,
        temperature: float | Tensor = 1.0,
        base: float | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        return _evaluate(spec, None, p, q, weights, log_prob, reduction, dim, temperature, base)

    return divergence


kl_divergence = make_function(SPECS["kl_divergence"])
reverse_kl_divergence = make_function(SPECS["reverse_kl_divergence"])
jeffreys_divergence = make_function(SPECS["jeffreys_divergence"])
total_variation_distance = make_function(SPECS["total_variation_distance"])
expected_acceptance = make_function(SPECS["expected_acceptance"])
squared_hellinger_distance = make_function(SPECS["squared_hellinger_distance"])
hellinger_distance = make_function(SPECS["hellinger_distance"])
chi_squared_divergence = make_function(SPECS["chi_squared_divergence"])
cross_entropy = make_function(SPECS["cross_entropy"])


@_named(SPECS["entropy"])
def entropy(
    p: Side,
    q: Side | None = None,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    dim: Dim = -1,
    temperature: float | Tensor = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    return _evaluate(SPECS["entropy"], None, p, q, weights, log_prob, reduction, dim, temperature, base)


@_named(SPECS["jensen_shannon_divergence"])
def jensen_shannon_divergence(
    p: Side,
    q: Side,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    beta: float = 0.5,
    dim: Dim = -1,
    temperature: float | Tensor = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    spec = SPECS["jensen_shannon_divergence"]
    return _evaluate(spec, beta, p, q, weights, log_prob, reduction, dim, temperature, base)


@_named(SPECS["alpha_divergence"])
def alpha_divergence(
    p: Side,
    q: Side,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    alpha: float,
    dim: Dim = -1,
    temperature: float | Tensor = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    return _evaluate(SPECS["alpha_divergence"], alpha, p, q, weights, log_prob, reduction, dim, temperature, base)


@_named(SPECS["renyi_divergence"])
def renyi_divergence(
    p: Side,
    q: Side,
    log_prob: LogProb = False,
    reduction: Reduction = "mean",
    *,
    alpha: float,
    dim: Dim = -1,
    temperature: float | Tensor = 1.0,
    base: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    return _evaluate(SPECS["renyi_divergence"], alpha, p, q, weights, log_prob, reduction, dim, temperature, base)


def _evaluate(
    spec: DivergenceSpec,
    parameter: float | None,
    p: Side,
    q: Side | None,
    weights: Tensor | None,
    log_prob: LogProb,
    reduction: Reduction,
    dim: Dim,
    temperature: float | Tensor,
    base: float | None,
) -> Tensor:
    key, q = spec.key(spec.check_parameter(parameter)), spec.second(p, q)
    if isinstance(temperature, Tensor):
        p, q, number = apply_temperature(p, q, temperature, log_prob)
    else:
        number = temperature
    settings = check_settings(log_prob, reduction, dim, number, base, spec.has_log_unit)
    rows = check_rows(p, q, weights, settings)
    values = row_divergence(rows.p, rows.q, settings.log_prob, settings.temperature, key)
    products = weighted(values, rows.weights)
    if settings.reduction == "none":
        return products / settings.log_base
    # a row of weight 0 is ignored: the weight has no gradient here, either
    weight = values.numel() if rows.weights is None else exact_sum(rows.weights.masked_fill(rows.weights == 0, 0.0))
    return exact_sum(products) / divisor(settings.reduction, weight, rows.items) / settings.log_base
