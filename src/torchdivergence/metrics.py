"""The metrics, one for each row of the table of divergences."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from torchdivergence._divergences import spec as _generators
from torchdivergence._divergences.docs import ALPHA, BETA, ORDER, metric_doc
from torchdivergence._divergences.spec import Generator
from torchdivergence._inputs.arguments import LogProb, Reduction, check_parameter
from torchdivergence._metrics.divergence_metric import DivergenceMetric

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

_M = TypeVar("_M", bound=DivergenceMetric)


def _documented(row: Generator, parameter: str = "") -> Callable[[type[_M]], type[_M]]:
    """Completes what a class says of itself by what all say."""

    def complete(metric: type[_M]) -> type[_M]:
        metric.__doc__ = metric_doc(row, metric.__doc__ or "", parameter)
        return metric

    return complete


@_documented(_generators.KL)
class KLDivergence(DivergenceMetric):
    """The Kullback-Leibler divergence of p from q, over all batches and processes.

    A drop-in for ``torchmetrics.KLDivergence``, with the same order of arguments.

    Example:
        >>> import torch
        >>> from torchdivergence import KLDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = KLDivergence()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.0853, dtype=torch.float64)

        Logits of a language model, with a mask over the tokens:

        >>> kl = KLDivergence(log_prob=True)
        >>> teacher = torch.zeros(2, 3, 5)
        >>> student = torch.zeros(2, 3, 5).index_fill(-1, torch.tensor(0), 2.0)
        >>> kl.update(teacher, student, weights=torch.tensor([[True, True, False], [True, False, False]]))
        >>> kl.compute()
        tensor(0.4232, dtype=torch.float64)
    """

    _generator = _generators.KL


@_documented(_generators.REVERSE_KL)
class ReverseKLDivergence(DivergenceMetric):
    """The Kullback-Leibler divergence of q from p: the arguments stay in the order (p, q).

    Example:
        >>> import torch
        >>> from torchdivergence import ReverseKLDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = ReverseKLDivergence()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.0975, dtype=torch.float64)
    """

    _generator = _generators.REVERSE_KL


@_documented(_generators.JEFFREYS)
class JeffreysDivergence(DivergenceMetric):
    """Jeffreys' divergence, the sum of the two of Kullback and Leibler.

    Example:
        >>> import torch
        >>> from torchdivergence import JeffreysDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = JeffreysDivergence()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.1828, dtype=torch.float64)
    """

    _generator = _generators.JEFFREYS


@_documented(_generators.TOTAL_VARIATION)
class TotalVariationDistance(DivergenceMetric):
    """The total variation distance.

    It is 1 less the acceptance rate when q drafts for p in speculative decoding.

    Example:
        >>> import torch
        >>> from torchdivergence import TotalVariationDistance
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = TotalVariationDistance()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.1733, dtype=torch.float64)
    """

    _generator = _generators.TOTAL_VARIATION


@_documented(_generators.SQUARED_HELLINGER)
class SquaredHellingerDistance(DivergenceMetric):
    """The squared Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence import SquaredHellingerDistance
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = SquaredHellingerDistance()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.0226, dtype=torch.float64)
    """

    _generator = _generators.SQUARED_HELLINGER


@_documented(_generators.HELLINGER)
class HellingerDistance(DivergenceMetric):
    """The Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence import HellingerDistance
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = HellingerDistance()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.1505, dtype=torch.float64)
    """

    _generator = _generators.HELLINGER


@_documented(_generators.CHI_SQUARED)
class ChiSquaredDivergence(DivergenceMetric):
    """Pearson's chi-squared divergence of p from q.

    Example:
        >>> import torch
        >>> from torchdivergence import ChiSquaredDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = ChiSquaredDivergence()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.1568, dtype=torch.float64)
    """

    _generator = _generators.CHI_SQUARED


@_documented(_generators.CROSS_ENTROPY)
class CrossEntropy(DivergenceMetric):
    """The cross-entropy of q under soft targets p.

    A row's value is its entropy and its divergence of p from q, added.

    Example:
        >>> import torch
        >>> from torchdivergence import CrossEntropy
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = CrossEntropy()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(1.0986, dtype=torch.float64)
    """

    _generator = _generators.CROSS_ENTROPY


@_documented(_generators.ENTROPY)
class Entropy(DivergenceMetric):
    """The entropy of p; q has no part in it but that it must be a distribution, too.

    Example:
        >>> import torch
        >>> from torchdivergence import Entropy
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = Entropy()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(1.0133, dtype=torch.float64)
    """

    _generator = _generators.ENTROPY


@_documented(_generators.jensen_shannon(0.5), BETA)
class JensenShannonDivergence(DivergenceMetric):
    """The Jensen-Shannon divergence, generalised by a weight beta of p in the mixture.

    At beta = 1/2 a drop-in for ``torchmetrics.JensenShannonDivergence``. As beta goes to 0, the value over beta goes to
    the divergence of Kullback and Leibler of p from q; as beta goes to 1, the value over 1 - beta to that of q from p.

    Example:
        >>> import torch
        >>> from torchdivergence import JensenShannonDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = JensenShannonDivergence()
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.0225, dtype=torch.float64)
    """

    def __init__(
        self,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        beta: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self.beta = check_parameter("beta", beta, 0, 1)
        super().__init__(log_prob, reduction, **kwargs)

    @property
    def _generator(self) -> Generator:
        return _generators.jensen_shannon(self.beta)


@_documented(_generators.alpha_divergence(2), ALPHA)
class AlphaDivergence(DivergenceMetric):
    """The alpha-divergence; at alpha = 1 the divergence of Kullback and Leibler of p from q, at 0 that of q from p.

    At 2 it is half the chi-squared divergence, at 1/2 four times the squared Hellinger distance.

    Example:
        >>> import torch
        >>> from torchdivergence import AlphaDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = AlphaDivergence(2)
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.0784, dtype=torch.float64)
    """

    def __init__(
        self,
        alpha: float,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        **kwargs: Any,
    ) -> None:
        self.alpha = check_parameter("alpha", alpha, -math.inf, math.inf)
        super().__init__(log_prob, reduction, **kwargs)

    @property
    def _generator(self) -> Generator:
        return _generators.alpha_divergence(self.alpha)


@_documented(_generators.renyi(2), ORDER)
class RenyiDivergence(DivergenceMetric):
    """Rényi's divergence of order alpha > 0; at alpha = 1 the divergence of Kullback and Leibler.

    Example:
        >>> import torch
        >>> from torchdivergence import RenyiDivergence
        >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
        >>> metric = RenyiDivergence(2)
        >>> metric.update(p, q)
        >>> metric.compute()
        tensor(0.1457, dtype=torch.float64)
    """

    def __init__(
        self,
        alpha: float,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        **kwargs: Any,
    ) -> None:
        self.alpha = check_parameter("alpha", alpha, 0, math.inf)
        super().__init__(log_prob, reduction, **kwargs)

    @property
    def _generator(self) -> Generator:
        return _generators.renyi(self.alpha)
