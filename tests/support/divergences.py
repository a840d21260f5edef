"""All divergences of the package, each with its function, its metric, its definition, its parameter and its bound."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from mpmath import mpf
from torch import Tensor

import torchdivergence as td
from tests.support import definitions
from torchdivergence import functional as F  # noqa: N812

LogProb = bool | tuple[bool, bool]
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")


class Divergence(NamedTuple):
    """One divergence with a fixed value of its parameter, if it has one."""

    function: Callable[..., Tensor]
    metric: Callable[..., Any]
    definition: Callable[..., mpf]
    parameter: dict[str, float]
    bound: float = math.inf
    zero_iff_equal: bool = True
    has_log_unit: bool = True

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.parameter.items())])

    @property
    def name(self) -> str:
        """The name of the metric's class."""
        return str(self.metric.__name__)

    def rows(self, p: Tensor, q: Tensor, log_prob: LogProb = True, **settings: Any) -> Tensor:
        """The values of all rows."""
        return self.function(p, q, log_prob, "none", **self.parameter, **settings)

    def value(self, p: Tensor, q: Tensor, log_prob: LogProb = True) -> float:
        """The value of a single row."""
        return float(self.rows(p, q, log_prob))

    def make(self, **settings: Any) -> Any:
        """The metric."""
        return self.metric(**self.parameter, **settings)

    def truth(self, p: Tensor, q: Tensor, log_prob: LogProb = True) -> mpf:
        """The value of a single row by definition, in 50-digit arithmetic."""
        p_is_log, q_is_log = log_prob if isinstance(log_prob, tuple) else (log_prob, log_prob)
        return self.truth_of(definitions.distribution(p, p_is_log), definitions.distribution(q, q_is_log))

    def truth_of(self, p: definitions.Distribution, q: definitions.Distribution) -> mpf:
        """The value of two distributions by definition; infinite if it exceeds the range of float64."""
        truth = self.definition(p, q, *self.parameter.values())
        return truth if truth <= LARGEST else definitions.INFINITE


def jensen_shannon(beta: float) -> Divergence:
    bound = (-beta * math.log(beta) - (1 - beta) * math.log1p(-beta)) * (1 + 2**-52)
    function, metric = F.jensen_shannon_divergence, td.JensenShannonDivergence
    return Divergence(function, metric, definitions.jensen_shannon, {"beta": beta}, bound)


def alpha(order: float) -> Divergence:
    bound = 1 / (order * (1 - order)) if 0 < order < 1 else math.inf
    function, metric = F.alpha_divergence, td.AlphaDivergence
    return Divergence(function, metric, definitions.alpha, {"alpha": order}, bound, has_log_unit=False)


def renyi(order: float) -> Divergence:
    return Divergence(F.renyi_divergence, td.RenyiDivergence, definitions.renyi, {"alpha": order})


def _distance(
    function: Callable[..., Tensor], metric: Callable[..., Any], definition: Callable[..., mpf]
) -> Divergence:
    return Divergence(function, metric, definition, {}, 1.0, has_log_unit=False)


KL = Divergence(F.kl_divergence, td.KLDivergence, definitions.kl, {})
REVERSE_KL = Divergence(F.reverse_kl_divergence, td.ReverseKLDivergence, definitions.reverse_kl, {})
JEFFREYS = Divergence(F.jeffreys_divergence, td.JeffreysDivergence, definitions.jeffreys, {})
TOTAL_VARIATION = _distance(F.total_variation_distance, td.TotalVariationDistance, definitions.total_variation)
HELLINGER = _distance(F.hellinger_distance, td.HellingerDistance, definitions.hellinger)
SQUARED_HELLINGER = _distance(F.squared_hellinger_distance, td.SquaredHellingerDistance, definitions.squared_hellinger)
CHI_SQUARED = Divergence(
    F.chi_squared_divergence, td.ChiSquaredDivergence, definitions.chi_squared, {}, has_log_unit=False
)
ENTROPY = Divergence(F.entropy, td.Entropy, definitions.entropy, {}, zero_iff_equal=False)
CROSS_ENTROPY = Divergence(F.cross_entropy, td.CrossEntropy, definitions.cross_entropy, {}, zero_iff_equal=False)

DIVERGENCES = [
    *(KL, REVERSE_KL, JEFFREYS),
    *(jensen_shannon(beta) for beta in (0.1, 0.5, 0.9)),
    *(TOTAL_VARIATION, HELLINGER, SQUARED_HELLINGER, CHI_SQUARED),
    *(alpha(order) for order in (-0.5, 0, 0.3, 0.5, 1, 2, 3)),
    *(renyi(order) for order in (0.3, 0.5, 1, 2, 3)),
    *(ENTROPY, CROSS_ENTROPY),
]
FIRST_ORDER = (TOTAL_VARIATION, HELLINGER)
"""Of first order in p - q, where the others are of second order: 1e-3 here corresponds to 1e-6 there."""

every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
