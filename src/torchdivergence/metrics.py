"""The metrics: one class for each divergence. Their docstrings come from the declarations in ``_divergences``."""

from typing import Any

from torchdivergence import _divergences
from torchdivergence._inputs.settings import LogProb, Reduction
from torchdivergence._metrics.divergence_metric import DivergenceMetric, parameter_property

__all__ = [
    "AlphaDivergence",
    "ChiSquaredDivergence",
    "CrossEntropy",
    "Entropy",
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
    spec = _divergences.KL


class ReverseKLDivergence(DivergenceMetric):
    spec = _divergences.REVERSE_KL


class JeffreysDivergence(DivergenceMetric):
    spec = _divergences.JEFFREYS


class TotalVariationDistance(DivergenceMetric):
    spec = _divergences.TOTAL_VARIATION


class SquaredHellingerDistance(DivergenceMetric):
    spec = _divergences.SQUARED_HELLINGER


class HellingerDistance(DivergenceMetric):
    spec = _divergences.HELLINGER


class ChiSquaredDivergence(DivergenceMetric):
    spec = _divergences.CHI_SQUARED


class CrossEntropy(DivergenceMetric):
    spec = _divergences.CROSS_ENTROPY


class Entropy(DivergenceMetric):
    spec = _divergences.ENTROPY


class JensenShannonDivergence(DivergenceMetric):
    spec = _divergences.JENSEN_SHANNON
    beta = parameter_property()

    def __init__(
        self, log_prob: LogProb = False, reduction: Reduction = "mean", *, beta: float = 0.5, **kwargs: Any
    ) -> None:
        self._parameter = beta
        super().__init__(log_prob, reduction, **kwargs)


class AlphaDivergence(DivergenceMetric):
    spec = _divergences.ALPHA
    alpha = parameter_property()

    def __init__(self, alpha: float, log_prob: LogProb = False, reduction: Reduction = "mean", **kwargs: Any) -> None:
        self._parameter = alpha
        super().__init__(log_prob, reduction, **kwargs)


class RenyiDivergence(DivergenceMetric):
    spec = _divergences.RENYI
    alpha = parameter_property()

    def __init__(self, alpha: float, log_prob: LogProb = False, reduction: Reduction = "mean", **kwargs: Any) -> None:
        self._parameter = alpha
        super().__init__(log_prob, reduction, **kwargs)
