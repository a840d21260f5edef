"""Numerically stable KL divergence and related divergences for PyTorch and Lightning."""

from torchdivergence import metrics
from torchdivergence._backends import backends, use_backend
from torchdivergence._inputs.projected import Projected
from torchdivergence.collections import DivergenceCollection
from torchdivergence.hidden_states import HiddenStates
from torchdivergence.metrics import *  # noqa: F403
from torchdivergence.report import DivergenceReport
from torchdivergence.statistics import DivergenceStatistics

__all__ = [
    "DivergenceCollection",
    "DivergenceReport",
    "DivergenceStatistics",
    "HiddenStates",
    "Projected",
    "backends",
    "use_backend",
]
__all__ += metrics.__all__
__version__ = "0.1.0"
