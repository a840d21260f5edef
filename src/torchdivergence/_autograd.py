"""How an operator gets derivatives: it registers a kernel for the dispatch key Autograd, as torch's operators do.

``torch.library.register_autograd`` has neither forward mode nor ``torch.func``, and an ``autograd.Function`` with a
rule for forward mode cannot be compiled with ``fullgraph=True``. This file uses names that are private to torch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import _VF, Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from torchdivergence._tensor_kinds import in_dual_level, in_func_transform, is_dtensor

__all__ = [
    "SingleLevelFunction",
    "apply_function",
    "below_autograd",
    "has_tangent",
    "jvp_levels",
    "lower_levels",
    "primal",
    "vjp",
]

SingleLevelFunction: Any = _SingleLevelFunction
"""An ``autograd.Function`` for the level of ``torch.func`` at which the dispatcher is."""


def has_tangent(*tensors: Tensor) -> bool:
    """Whether some of the tensors carry a tangent of forward-mode differentiation."""
    if not torch._C._is_fwd_grad_enabled():
        return False
    return any(_has_tangent(x) for x in tensors)


def _has_tangent(x: Tensor) -> bool:
    if is_dtensor(x) and not in_dual_level():  # before torch 2.9, DTensor has no rule for unpacking
        return False
    return _VF._unpack_dual(x, level=0).tangent is not None


def below_autograd(operator: Any, *args: Any) -> Any:
    """Call an operator without its kernel under Autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*args)


def apply_function(function: Any, *args: Any) -> Any:
    """Apply a function with derivatives at the level of ``torch.func`` at which the dispatcher is."""
    if not in_func_transform():
        return function.apply(*args)
    with enable_single_level_autograd_function():
        return function.apply(*args)


def lower_levels(operator: Any, *args: Any) -> Any:
    """Call an operator inside ``forward``, where torch disables all derivatives.

    Nested ``torch.func`` transforms still need theirs: they are enabled again.
    """
    if not in_func_transform():
        return below_autograd(operator, *args)
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        return below_autograd(operator, *args)


@contextmanager
def jvp_levels() -> Iterator[bool]:
    """Enable tangents again inside ``jvp``, for outer ``torch.func`` transforms; yields whether there is one."""
    if not in_func_transform():
        yield False
        return
    with forward_ad._set_fwd_grad_enabled(True):
        yield True


def primal(x: Tensor) -> Tensor:
    """The tensor without its tangent."""
    found: Tensor = _VF._unpack_dual(x, level=0).primal  # forward_ad does not know the level while torch traces
    return found


def vjp(
    function: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor], cotangents: Sequence[Tensor | None]
) -> Sequence[Tensor | None]:
    """Gradients of ``sum(cotangents * function(*tensors))``, differentiable if a graph is wanted."""
    if in_func_transform():  # the level at which the tensors were saved may have ended
        outputs, pull_back, *_ = torch.func.vjp(function, *tensors)
        full = (torch.zeros_like(x) if c is None else c for x, c in zip(outputs, cotangents, strict=True))
        found: Sequence[Tensor] = pull_back(tuple(full))
        return found
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        variables = [_variable(x) for x in tensors]
        outputs = function(*variables)
    used = [(x, c) for x, c in zip(outputs, cotangents, strict=True) if c is not None and x.requires_grad]
    return torch.autograd.grad(
        [x for x, _ in used], variables, [c for _, c in used], create_graph=create_graph, allow_unused=True
    )


def _variable(x: Tensor) -> Tensor:
    """The same numbers as a variable of its own: other tensors that depend on x are not followed."""
    alias = x.view_as(x)
    return alias if alias.requires_grad else alias.detach().requires_grad_()
