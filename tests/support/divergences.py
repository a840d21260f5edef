"""All divergences of the package, each with its parameters, its metric, its truth and what bounds it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mpmath import mpf
from torch import Tensor
from torchmetrics import Metric

import tests.support.all_definitions as reference
import torchdivergence as td
from tests.support.definitions import distribution
from torchdivergence import functional as F  # noqa: N812

LogProb = bool | tuple[bool, bool]


class Member(NamedTuple):
    """One divergence: its function, its metric, its definition, and their one parameter."""

    function: Callable[..., Tensor]
    metric: Callable[..., Metric]
    definition: Callable[..., mpf]
    parameter: dict[str, float]
    bound: float = math.inf
    compares: bool = True
    """Whether it is zero for equal rows."""
    in_nats: bool = True

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "-".join([self.metric.__name__, *(f"{k}={v}" for k, v in self.parameter.items())])

    def rows(self, p: Tensor, q: Tensor, log_prob: LogProb = True, **settings: Any) -> Tensor:
        """The value of each row."""
        return self.function(p, q, log_prob, "none", **self.parameter, **settings)

    def value(self, p: Tensor, q: Tensor, log_prob: LogProb = True) -> float:
        """That of a single row."""
        return float(self.rows(p, q, log_prob))

    def truth(self, p: Tensor, q: Tensor, log_prob: LogProb = True) -> mpf:
        of_p, of_q = log_prob if isinstance(log_prob, tuple) else (log_prob, log_prob)
        return self.of(distribution(p, of_p), distribution(q, of_q))

    def of(self, p: list[mpf], q: list[mpf]) -> mpf:
        """The definition's value; infinite where float64 has no number so large."""
        truth = self.definition(p, q, *self.parameter.values())
        return truth if truth <= float.fromhex("0x1.fffffffffffffp+1023") else mpf("inf")


def jensen_shannon(beta: float) -> Member:
    bound = -beta * math.log(beta) - (1 - beta) * math.log1p(-beta)
    metric = td.JensenShannonDivergence
    return Member(F.jensen_shannon_divergence, metric, reference.jensen_shannon, {"beta": beta}, bound * (1 + 2**-52))


def alpha(order: float) -> Member:
    bound = 1 / (order * (1 - order)) if 0 < order < 1 else math.inf
    return Member(F.alpha_divergence, td.AlphaDivergence, reference.alpha, {"alpha": order}, bound, in_nats=False)


def renyi(order: float) -> Member:
    return Member(F.renyi_divergence, td.RenyiDivergence, reference.renyi, {"alpha": order})


KL = Member(F.kl_divergence, td.KLDivergence, reference.kl, {})
REVERSE_KL = Member(F.reverse_kl_divergence, td.ReverseKLDivergence, reference.reverse_kl, {})
JEFFREYS = Member(F.jeffreys_divergence, td.JeffreysDivergence, reference.jeffreys, {})
TOTAL_VARIATION = Member(
    F.total_variation_distance, td.TotalVariationDistance, reference.total_variation, {}, 1.0, in_nats=False
)
HELLINGER = Member(F.hellinger_distance, td.HellingerDistance, reference.hellinger, {}, 1.0, in_nats=False)
SQUARED_HELLINGER = Member(
    F.squared_hellinger_distance, td.SquaredHellingerDistance, reference.squared_hellinger, {}, 1.0, in_nats=False
)
CHI_SQUARED = Member(F.chi_squared_divergence, td.ChiSquaredDivergence, reference.chi_squared, {}, in_nats=False)
ENTROPY = Member(F.entropy, td.Entropy, reference.entropy, {}, compares=False)
CROSS_ENTROPY = Member(F.cross_entropy, td.CrossEntropy, reference.cross_entropy, {}, compares=False)

FAMILY = [
    *(KL, REVERSE_KL, JEFFREYS),
    *(jensen_shannon(beta) for beta in (0.1, 0.5, 0.9)),
    *(TOTAL_VARIATION, HELLINGER, SQUARED_HELLINGER, CHI_SQUARED),
    *(alpha(order) for order in (-0.5, 0, 0.3, 0.5, 1, 2, 3)),
    *(renyi(order) for order in (0.3, 0.5, 1, 2, 3)),
    *(ENTROPY, CROSS_ENTROPY),
]
