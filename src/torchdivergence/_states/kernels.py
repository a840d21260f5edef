"""How states are written: by native kernels on the CPU, by Triton kernels on CUDA, which write the same integers."""

import ctypes
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from torchdivergence._backends import AUTO, REFERENCE, TRITON, selected
from torchdivergence._extension import native as _extension
from torchdivergence._states import native

_COPIED_BY_THREADS = 1 << 15
"""Tensors with fewer numbers are copied by one thread in torch, too."""


def kernels_for(*tensors: Tensor) -> ModuleType | None:
    """The kernels for some tensors; None where the code in torch is to be used.

    Native kernels are for plain tensors on the CPU. They leave out some jobs of the Triton kernels, whose code in torch
    is fast enough there.
    """
    if _extension and _in_memory(*tensors):
        return native if selected() != REFERENCE else None
    return gpu_kernels_for(*tensors)


def gpu_kernels_for(*tensors: Tensor) -> ModuleType | None:
    """The Triton kernels for plain tensors on CUDA, else None."""
    return _triton() if selected() in (AUTO, TRITON) and _on_gpu(*tensors) else None


@cache
def _triton() -> ModuleType | None:
    try:
        from torchdivergence._states import triton
    except ImportError:
        return None
    return triton


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


def _on_gpu(*tensors: Tensor) -> bool:
    return all(x.is_cuda and type(x) is Tensor for x in tensors)
