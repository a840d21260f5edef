"""The tensor of a state off the CPU: one for the life of a metric, which nobody else holds, and which is written into.

So a captured CUDA graph adds to the state of the metric whenever it is replayed. Who reads the state gets a copy, and
what is assigned to it is copied into the tensor. On the CPU a state is replaced instead: the processes of ``ddp_spawn``
may share its memory, and an interrupted update must not leave half of a batch.
"""

import torch
from torch import Tensor

from torchdivergence._states.kernels import copy_of, gpu_kernels_for
from torchdivergence._states.part import Part, RowBatch


class OwnedState:
    """A tensor that its metric alone can see.

    Args:
        state: The state from which it starts; it is copied.
    """

    def __init__(self, state: Tensor) -> None:
        with torch.inference_mode(False):  # a tensor of inference mode could not be written into outside it
            self.tensor = copy_of(state)

    def copy(self) -> Tensor:
        """A copy, for others."""
        return copy_of(self.tensor)

    def assign(self, value: object) -> bool:
        """Whether a value fits; then it becomes the value of the tensor, whose address stays."""
        if not isinstance(value, Tensor) or value.device != self.tensor.device or value.dtype != self.tensor.dtype:
            return False
        if value.shape != self.tensor.shape:
            return False
        if value is not self.tensor:
            self.tensor.copy_(value)
        return True

    def add(self, part: Part[object], batch: RowBatch) -> None:
        """Add a batch. If this raises, the tensor is as it was before."""
        at_once = part.is_added_at_once and gpu_kernels_for(self.tensor, batch.values)
        before = None if at_once else self.copy()
        try:
            part.accumulate_(self.tensor, batch)
        except BaseException:
            if before is not None:
                self.tensor.copy_(before)
            raise


def may_own(part: Part[object] | None, state: object) -> bool:
    """Whether a metric may own its state: it is off the CPU, has numbers, and does not grow."""
    return isinstance(state, Tensor) and not (state.is_cpu or state.is_meta) and part is not None and not part.grows


def is_captured(state: Tensor) -> bool:
    """Whether what is done to the state is captured in a CUDA graph instead of being done."""
    return state.is_cuda and torch.cuda.is_current_stream_capturing()
