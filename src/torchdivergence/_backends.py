"""The choice of a backend: by environment variable, by context manager, or automatic."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec

import torch

from torchdivergence import _extension

VARIABLE = "TORCHDIVERGENCE_BACKEND"
AUTO, NATIVE, TRITON, REFERENCE = NAMES = "auto", "native", "triton", "reference"


def _check_name(name: str, source: str) -> str:
    if name not in NAMES:
        raise ValueError(f"{source} must be one of {', '.join(map(repr, NAMES))}, but got {name!r}.")
    return name


_default = _check_name(os.environ.get(VARIABLE) or AUTO, VARIABLE)
_selected = ContextVar("torchdivergence_backend", default=_default)


def selected() -> str:
    """Name of the backend that is to be used: "auto" unless one was chosen."""
    return _selected.get()


def backends() -> dict[str, str]:
    """Backends and their status: "available", or the reason why a backend is missing.

    - ``"native"``: C kernels for CPU tensors, in float64. They cover every divergence.
    - ``"triton"``: Triton kernels for CUDA tensors of at most 32 bits. They cover every divergence and its gradients at
      temperatures between 1e-4 and 1e4; alpha and Rényi at orders alpha from -2 to 3.
    - ``"reference"``: plain PyTorch in float64, for any device and every divergence.

    Example:
        >>> import torchdivergence
        >>> torchdivergence.backends()["reference"]
        'available'
    """
    return {name: reason or "available" for name, reason in missing().items()}


def missing() -> dict[str, str]:
    """For each backend the reason why it is missing, or an empty string."""
    no_triton = "" if find_spec("triton") else "Triton is not installed"
    no_device = "" if torch.cuda.is_available() else "there is no CUDA device"
    return {NATIVE: _extension.missing, TRITON: no_triton or no_device, REFERENCE: ""}


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend for all calls within a ``with`` block.

    The environment variable ``TORCHDIVERGENCE_BACKEND`` makes the same choice for a whole process. A thread that
    is started within the block begins with the choice of the process.

    Args:
        name: ``"auto"`` takes, for each call, the fastest backend that supports the tensors and the divergence, and
            falls back to the reference. ``"native"``, ``"triton"`` and ``"reference"`` take that backend alone: a
            call that it does not support raises :class:`NotImplementedError`. ``"native"`` leaves gradients to the
            reference. A backward pass takes the backend of its forward pass; that of a compiled function takes the one
            of the process.

    Raises:
        ValueError: There is no backend of this name.
        RuntimeError: The backend is missing here; the text gives the reason.

    Example:
        >>> import torch
        >>> import torchdivergence
        >>> from torchdivergence.functional import kl_divergence
        >>> with torchdivergence.use_backend("reference"):
        ...     kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        tensor(0.1438, dtype=torch.float64)
    """
    if reason := missing().get(_check_name(name, "the backend")):
        raise RuntimeError(f"backend {name!r} is missing: {reason}.")
    with selecting(name):
        yield


@contextmanager
def selecting(name: str) -> Iterator[None]:
    """Choose a backend that is known to be there."""
    token = _selected.set(name)
    try:
        yield
    finally:
        _selected.reset(token)
