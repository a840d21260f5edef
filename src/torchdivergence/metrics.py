"""The metrics: one class for each divergence. Their docstrings come from the declarations in ``_divergences``."""

from typing import Any

from torch import Tensor

from torchdivergence._divergences import SPECS
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import LogProb, Reduction
from torchdivergence._metrics.divergence_metric import DivergenceMetric, parameter_property

__all__ = [
    "AlphaDivergence",
    "ChiSquaredDivergence",
    "CrossEntropy",
    "Entropy",
    "ExpectedAcceptance",
    "HellingerDistance",
    "JeffreysDivergence",
    "JensenShannonDivergence",
    "KLDivergence",
    "RenyiDivergence",
    "ReverseKLDivergence",
    "SquaredHellingerDistance",
    "TotalVariationDistance",
]


class KLDivergence(DivergenceMetric):
    spec = SPECS["kl_divergence"]


class ReverseKLDivergence(DivergenceMetric):
    spec = SPECS["reverse_kl_divergence"]


class JeffreysDivergence(DivergenceMetric):
    spec = SPECS["jeffreys_divergence"]


class TotalVariationDistance(DivergenceMetric):
    spec = SPECS["total_variation_distance"]


class ExpectedAcceptance(DivergenceMetric):
    spec = SPECS["expected_acceptance"]


class SquaredHellingerDistance(DivergenceMetric):
    spec = SPECS["squared_hellinger_distance"]


class HellingerDistance(DivergenceMetric):
    spec = SPECS["hellinger_distance"]


class ChiSquaredDivergence(DivergenceMetric):
    spec = SPECS["chi_squared_divergence"]


class CrossEntropy(DivergenceMetric):
    spec = SPECS["cross_entropy"]


class Entropy(DivergenceMetric):
    spec = SPECS["entropy"]

    def update(self, p: Side, q: Side | None = None, weights: Tensor | None = None) -> None:
        """Update with a batch of rows. If this raises, the metric is as it was before.

        Args:
            p: The distribution of each row, classes along ``dim``.
            q: Not needed.
            weights: Weights of the rows, broadcastable to the batch shape (the shape of p without ``dim``).
        """
        self._apply_batch(self._batch_stats(p, q, weights))


class JensenShannonDivergence(DivergenceMetric):
    spec = SPECS["jensen_shannon_divergence"]
    beta = parameter_property()

    def __init__(
        self, log_prob: LogProb = False, reduction: Reduction = "mean", *, beta: float = 0.5, **kwargs: Any
    ) -> None:
        self._parameter = beta
        super().__init__(log_prob, reduction, **kwargs)


class AlphaDivergence(DivergenceMetric):
    spec = SPECS["alpha_divergence"]
    alpha = parameter_property()

    def __init__(self, alpha: float, log_prob: LogProb = False, reduction: Reduction = "mean", **kwargs: Any) -> None:
        self._parameter = alpha
        super().__init__(log_prob, reduction, **kwargs)


class RenyiDivergence(DivergenceMetric):
    spec = SPECS["renyi_divergence"]
    alpha = parameter_property()

    def __init__(self, alpha: float, log_prob: LogProb = False, reduction: Reduction = "mean", **kwargs: Any) -> None:
        self._parameter = alpha
        super().__init__(log_prob, reduction, **kwargs)
