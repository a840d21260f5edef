"""KL divergence for PyTorch and Lightning: accurate rows, exact sums."""

from torchdivergence.metrics import KLDivergence

__all__ = ["KLDivergence"]
__version__ = "0.1.0"
