"""How states on the CPU are written: by the native kernels, which write the same integers as the code in torch."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from torchdivergence._backends import REFERENCE, selected
from torchdivergence._extension import native

_COPIED_BY_THREADS = 1 << 15
"""Tensors with fewer numbers are copied by one thread in torch, too."""


def kernels_for(*tensors: Tensor) -> Any:
    """The native extension if all tensors are plain CPU memory and the reference was not chosen, else None."""
    return native if native and selected() != REFERENCE and _in_memory(*tensors) else None


def copy_of(state: Tensor) -> Tensor:
    """A copy of a state. On the CPU this thread makes it alone.

    torch copies a large tensor by several threads. On a busy machine they wait for each other for milliseconds.
    """
    if state.numel() < _COPIED_BY_THREADS or not _in_memory(state):
        return state.clone()
    state = state.contiguous()
    new = torch.empty_like(state)
    ctypes.memmove(new.data_ptr(), state.data_ptr(), state.nbytes)
    return new


def _in_memory(*tensors: Tensor) -> bool:
    return all(x.is_cpu and type(x) is Tensor for x in tensors)
