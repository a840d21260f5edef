"""Divergences of distributions for PyTorch and Lightning: accurate rows, exact sums."""

from torchdivergence.collections import DivergenceCollection
from torchdivergence.metrics import (
    AlphaDivergence,
    ChiSquaredDivergence,
    CrossEntropy,
    Entropy,
    HellingerDistance,
    JeffreysDivergence,
    JensenShannonDivergence,
    KLDivergence,
    RenyiDivergence,
    ReverseKLDivergence,
    SquaredHellingerDistance,
    TotalVariationDistance,
)
from torchdivergence.report import DivergenceReport
from torchdivergence.statistics import DivergenceStatistics

__all__ = [
    "AlphaDivergence",
    "ChiSquaredDivergence",
    "CrossEntropy",
    "DivergenceCollection",
    "DivergenceReport",
    "DivergenceStatistics",
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
__version__ = "0.1.0"
