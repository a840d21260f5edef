"""The table of divergences: what each one does to a class.

A row says how ``D = sum_i p_i * g(delta_i)`` with ``delta = log(p / q)`` is made: ``g`` is non-negative,
and zero with its slope at ``delta = 0``. Nothing here knows of devices, chunks or metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Generator:
    """One divergence."""

    name: str
    """The name of the public function."""
    g: Callable[[Tensor], Tensor]
    """``g(delta)``, in float64, for ``delta`` from -60 (below, see ``_rows``) to ``inf``."""


KL = Generator("kl_divergence", lambda delta: torch.expm1(-delta).add_(delta))
