"""All divergences of the package, each with its function, its metric, its definition, its parameter and its bound."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from mpmath import mpf
from torch import Tensor

import torchdivergence as td
from tests.support import definitions
from torchdivergence import _divergences as specs
from torchdivergence import functional as F  # noqa: N812
from torchdivergence._divergences import SPECS, DivergenceSpec
from torchdivergence._divergences.spec import Accuracy
from torchdivergence._inputs.projected import Side

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
    accuracy: Accuracy = Accuracy()

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.parameter.items())])

    @property
    def name(self) -> str:
        """The name of the metric's class."""
        return str(self.metric.__name__)

    @property
    def numerics(self) -> specs.Divergence:
        """What backends get of its declaration."""
        return SPECS[self.function.__name__].at(*self.parameter.values())

    def rows(self, p: Side, q: Side, log_prob: LogProb = True, **settings: Any) -> Tensor:
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


def of(spec: DivergenceSpec, parameter: float | None = None) -> Divergence:
    """The divergence of a declaration. Its definition has the name of the function, without "divergence"."""
    numerics = spec.at(parameter)
    return Divergence(
        function=getattr(F, spec.function),
        metric=getattr(td, spec.metric),
        definition=getattr(definitions, spec.function.removesuffix("_divergence").removesuffix("_distance")),
        parameter={} if spec.parameter is None or parameter is None else {spec.parameter.name: parameter},
        bound=numerics.upper_bound * (1 + 2**-52),
        zero_iff_equal=spec.zero_iff_equal,
        has_log_unit=spec.has_log_unit,
        accuracy=spec.accuracy,
    )


def all_divergences() -> list[Divergence]:
    """Every declared divergence, at each parameter that its declaration names."""
    return [
        of(spec, parameter)
        for spec in SPECS.values()
        for parameter in (spec.parameter.tested if spec.parameter else (None,))
    ]


def jensen_shannon(beta: float) -> Divergence:
    return of(specs.JENSEN_SHANNON, beta)


def alpha(order: float) -> Divergence:
    return of(specs.ALPHA, order)


def renyi(order: float) -> Divergence:
    return of(specs.RENYI, order)


KL, REVERSE_KL, JEFFREYS = map(of, (specs.KL, specs.REVERSE_KL, specs.JEFFREYS))
TOTAL_VARIATION, HELLINGER, SQUARED_HELLINGER = map(
    of, (specs.TOTAL_VARIATION, specs.HELLINGER, specs.SQUARED_HELLINGER)
)
CHI_SQUARED, ENTROPY, CROSS_ENTROPY = map(of, (specs.CHI_SQUARED, specs.ENTROPY, specs.CROSS_ENTROPY))
EXPECTED_ACCEPTANCE = of(specs.EXPECTED_ACCEPTANCE)

DIVERGENCES = all_divergences()

FIRST_ORDER = (TOTAL_VARIATION, HELLINGER)
"""Of first order in p - q, where the others are of second order: 1e-3 here corresponds to 1e-6 there."""

every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
