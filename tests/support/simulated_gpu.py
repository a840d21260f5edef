"""A GPU that is simulated: its tensors say that they are on CUDA, and hold their numbers on the CPU.

What is done to them is recorded: launches of kernels, copies to and from the host, and everything that waits for the
device. Kernels of Triton run in its interpreter. A recording can be replayed like a CUDA graph.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from torchdivergence import _rows, _tensor_kinds
from torchdivergence._inputs import placement, weights
from torchdivergence._rows import operators
from torchdivergence._rows import triton as row_kernels
from torchdivergence._states import kernels
from torchdivergence._states import triton as state_kernels

CUDA = torch.device("cuda", 0)
_FREE = {
    *("alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice", "split", "split_with_sizes"),
    *("squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view", "_reshape_alias"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}
"""Operators that launch nothing: views, and memory without numbers."""
_WAITING = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique"}
"""Operators that wait for the device, to return a number or a shape that depends on numbers."""
_FACTORIES = {
    *(torch.arange, torch.as_tensor, torch.empty, torch.full, torch.ones, torch.tensor, torch.zeros),
}


class Recording:
    """What was done on the device, in order."""

    def __init__(self) -> None:
        self.torch: list[str] = []
        self.triton: list[str] = []
        self.waits: list[str] = []
        self.copies: list[str] = []
        self.steps: list[Callable[[], object]] = []

    def replay(self) -> None:
        """Do it again, on the same memory."""
        for step in self.steps:
            step()


_recordings: list[Recording] = []


class GpuTensor(Tensor):
    """A tensor of the device."""

    memory: Tensor

    @staticmethod
    def __new__(cls, memory: Tensor) -> "GpuTensor":
        x = Tensor._make_wrapper_subclass(
            cls, memory.shape, strides=memory.stride(), storage_offset=memory.storage_offset(), dtype=memory.dtype,
            device=torch.device("meta"),
        )  # fmt: skip
        x.memory = memory
        return x

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    device = property(lambda _: CUDA)
    is_cuda = property(lambda _: True)
    is_cpu = is_meta = property(lambda _: False)

    def data_ptr(self) -> int:
        """The address of its numbers."""
        return self.memory.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """The memory that it shares with its views."""
        return self.memory.untyped_storage()

    def __deepcopy__(self, memo: Any) -> "GpuTensor":
        return GpuTensor(self.memory.clone())

    def get_device(self) -> int:
        """Its index."""
        return CUDA.index

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.partition("::")[2]
    inner_args, inner_kwargs = tree_map_only(GpuTensor, lambda x: x.memory, (args, kwargs))
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else CUDA
    if "device" in inner_kwargs:
        inner_kwargs = {**inner_kwargs, "device": torch.device("cpu")}
    out = func(*inner_args, **inner_kwargs)
    if func is torch.ops.aten._to_copy.default and out is inner_args[0]:
        out = out.clone()
    _record(name, func, (inner_args, inner_kwargs), out, to_host=target.type == "cpu")
    if name == "_local_scalar_dense" or target.type == "cpu":
        return out
    if func._schema.is_mutable and isinstance(args[0], GpuTensor) and out is inner_args[0]:
        return args[0]
    return tree_map_only(Tensor, GpuTensor, out)


def _record(name: str, func: Any, inputs: Any, out: Any, to_host: bool) -> None:
    from_host = name == "copy_" and not isinstance(inputs[0][1], Tensor)
    for recording in _recordings:
        if name in _WAITING:
            recording.waits.append(name)
        elif to_host or from_host:
            recording.copies.append(name)
        elif name not in _FREE:
            recording.torch.append(name)
            recording.steps.append(lambda: _repeat(func, inputs, out))


def _repeat(func: Any, inputs: Any, out: Any) -> None:
    args, kwargs = inputs
    new = func(*args, **kwargs)
    for old, x in zip(*(y if isinstance(y, list | tuple) else [y] for y in (out, new)), strict=True):
        if isinstance(x, Tensor) and x.data_ptr() != old.data_ptr():
            old.copy_(x)


class _Factories(TorchFunctionMode):
    """Makes tensors on the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES and _is_cuda(kwargs.get("device")):
            return self._made(func, args, {**kwargs, "device": "cpu"})
        if func is torch.where and isinstance(args[0], GpuTensor):  # torch makes a tensor of each number
            args = tuple(
                x if isinstance(x, Tensor) else self._made(torch.full, ((), x), {"device": "cpu"}) for x in args
            )
        if func is Tensor.to and any(map(_is_cuda, (*args[1:], *kwargs.values()))):
            if isinstance(args[0], GpuTensor):
                others = [x for x in (*args[1:], *kwargs.values()) if isinstance(x, torch.dtype)]
                return args[0].type(others[0]) if others else args[0]
            for recording in _recordings:
                recording.copies.append("to")
            return GpuTensor(args[0].detach().clone())
        return func(*args, **kwargs)

    def _made(self, func: Any, args: Any, kwargs: dict[str, Any]) -> GpuTensor:
        initial = func(*args, **kwargs)
        made = GpuTensor(initial.clone())
        for recording in _recordings:
            if func in (torch.tensor, torch.as_tensor):
                recording.copies.append(func.__name__)
            elif func is not torch.empty:
                recording.torch.append(func.__name__)
                recording.steps.append(lambda: made.memory.copy_(initial))
        return made


def _is_cuda(x: Any) -> bool:
    return isinstance(x, str | torch.device) and torch.device(x).type == "cuda"


@contextmanager
def simulated_gpu(states_are_written: bool = True) -> Iterator[None]:
    """Within this context tensors can be moved to CUDA. To count launches, kernels need not write states."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (_tensor_kinds, placement, weights):
            patch.setattr(module, "PLAIN_TYPES", (*_PLAIN_TYPES, GpuTensor))
        patch.setattr(_rows, "ROW_DIVERGENCE", operators._divergence_kernel)
        patch.setattr(_rows, "ROW_DIVERGENCES", operators._divergences_kernel)
        patch.setattr(row_kernels, "term_sums", _term_sums)
        patch.setattr(row_kernels, "token_columns", _token_columns)
        patch.setattr(kernels, "_on_gpu", lambda *tensors: all(isinstance(x, GpuTensor) for x in tensors))
        patch.setattr(state_kernels, "launch", partial(_launch, _launch_kernel if states_are_written else _skip))
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: _capturing)
        with _Factories():
            yield


@contextmanager
def captured() -> Iterator[Recording]:
    """A recording of what is done within this context, where torch says that a CUDA graph is captured."""
    global _capturing
    _capturing = True
    try:
        with recorded() as recording:
            yield recording
    finally:
        _capturing = False


_PLAIN_TYPES = _tensor_kinds.PLAIN_TYPES
_capturing = False
_interpreted, _launch_kernel = row_kernels.term_sums, state_kernels.launch
_interpreted_columns = row_kernels.token_columns


def _launch(run: Callable[..., None], kernel: Any, grid: Any, *args: Any) -> None:
    inner = [x.memory if isinstance(x, GpuTensor) else x for x in args]
    run(kernel, grid, *inner)
    for recording in _recordings:
        recording.triton.append(kernel.__name__)
        recording.steps.append(lambda: run(kernel, grid, *inner))


def _skip(*_: Any) -> None:
    """Run nothing."""


def _term_sums(p: Any, q: Any, log_prob: Any, temperature: float, terms: Any) -> Tensor:
    values = _interpreted(p.memory, q.memory, log_prob, temperature, terms)

    def again() -> None:
        values.copy_(_interpreted(p.memory, q.memory, log_prob, temperature, terms))

    for recording in _recordings:
        recording.triton += ["rows" for _ in row_kernels._requests(terms)]
        recording.steps.append(again)
    return GpuTensor(values)


def _token_columns(*args: Any) -> dict[str, Tensor]:
    inner = tree_map_only(GpuTensor, lambda x: x.memory, args)
    columns = _interpreted_columns(*inner)

    def again() -> None:
        for name, values in _interpreted_columns(*inner).items():
            columns[name].copy_(values)

    for recording in _recordings:
        recording.triton.append("token_columns")
        recording.steps.append(again)
    return {name: GpuTensor(values) for name, values in columns.items()}


@contextmanager
def recorded() -> Iterator[Recording]:
    """A recording of what is done within this context."""
    recording = Recording()
    _recordings.append(recording)
    try:
        yield recording
    finally:
        _recordings.remove(recording)
