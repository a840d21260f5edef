"""The sum of a vector, rounded once: an operator that is linear, and so differentiable.

On the CPU it has the bits of a metric's sum. On other devices it is torch's own sum, so that nothing waits for the
device.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_vmap

from torchdivergence._autograd import (
    SingleLevelFunction,
    apply_function,
    below_autograd,
    has_tangent,
    jvp_levels,
    lower_levels,
)
from torchdivergence._states.superaccumulator import accumulate_, read, zeros
from torchdivergence._tensor_kinds import is_dtensor, may_skip_dispatcher, needs_gradient

_LIBRARY = Library("torchdivergence", "FRAGMENT")
_LIBRARY.define("exact_sum(Tensor values) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
_EXACT_SUM = torch.ops.torchdivergence.exact_sum.default


def exact_sum(values: Tensor) -> Tensor:
    """The sum of float64 numbers, each >= 0 or NaN: the nearest float64, or NaN if there is a NaN."""
    if may_skip_dispatcher(values):
        return _kernel(values)
    if not torch.compiler.is_compiling() and is_dtensor(values):
        _register_sharding()
    return _EXACT_SUM(values)  # type: ignore[no-any-return]


def _kernel(values: Tensor) -> Tensor:
    if not values.is_cpu:
        return values.sum()
    accumulator = zeros().unsqueeze(0)
    accumulate_(accumulator, values.reshape(1, -1))
    total = read(accumulator[0])
    return values.new_tensor(math.nan if total.invalid else total.value)


class _ExactSum(SingleLevelFunction):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.shape = values.shape
        total: Tensor = lower_levels(_EXACT_SUM, values)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output.expand(ctx.shape)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:  # noqa: ARG004
        with jvp_levels():
            return tangent.sum()


def _autograd(values: Tensor) -> Any:
    if needs_gradient(values) or has_tangent(values):
        return apply_function(_ExactSum, values)
    return below_autograd(_EXACT_SUM, values)


def _vmap(info: Any, in_dims: Any, values: Tensor) -> tuple[Tensor, int]:  # noqa: ARG001
    return torch.stack([_EXACT_SUM(row) for row in values.unbind(in_dims[0])]), 0


_LIBRARY.impl("exact_sum", _kernel, "CompositeExplicitAutograd")
_LIBRARY.impl("exact_sum", lambda values: values.new_empty(()), "Meta")
_LIBRARY.impl("exact_sum", _autograd, "Autograd")
register_vmap("torchdivergence::exact_sum", _vmap, lib=_LIBRARY)


@cache
def _register_sharding() -> None:
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.experimental import register_sharding

    @register_sharding(_EXACT_SUM)  # type: ignore[untyped-decorator]
    def _(values: Any) -> list[Any]:  # noqa: ARG001
        return [([Replicate()], [Replicate()])]
