"""Derivatives of the operators of rows: backward, twice backward and forward, at any level of ``torch.func``."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torchdivergence._autograd import (
    SingleLevelFunction,
    apply_function,
    below_autograd,
    has_tangent,
    jvp_levels,
    lower_levels,
    primal,
    vjp,
)
from torchdivergence._backends import selected, selecting
from torchdivergence._rows.differentiable import differentiable_gradients
from torchdivergence._rows.operators import (
    LIBRARY,
    ROW_DIVERGENCE,
    ROW_DIVERGENCE_AND_MASSES,
    ROW_DIVERGENCES,
    ROW_GRADIENTS,
    side_flags,
    sides_code,
)
from torchdivergence._tensor_kinds import needs_gradient

_Grads = tuple[Tensor | None, ...]


def _save(ctx: Any, *tensors: Tensor) -> None:
    """Save for both directions. A tensor of inference mode cannot be saved, and needs no gradient: it is kept."""
    ctx.inference = tuple(x if x.is_inference() else None for x in tensors)
    saved = [x for x in tensors if not x.is_inference()]
    ctx.save_for_backward(*saved)
    ctx.save_for_forward(*saved)


def _saved(ctx: Any) -> list[Tensor]:
    saved = iter(ctx.saved_tensors)
    return [next(saved) if x is None else x for x in ctx.inference]


class _RowDivergence(SingleLevelFunction):
    """The divergence of each row, and its log-masses, which have no derivatives.

    The backward pass allocates the gradients and nothing else of their size.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
        values, log_masses = lower_levels(ROW_DIVERGENCE_AND_MASSES, p, q, *settings)
        ctx.settings, ctx.backend = settings, selected()
        ctx.set_materialize_grads(False)  # torch's zeros for a DTensor are not a DTensor
        ctx.mark_non_differentiable(log_masses)
        _save(ctx, values, p, q, log_masses)
        return values, log_masses

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, _: Tensor | None) -> _Grads:
        if grad_output is None:
            return (None,) * 5
        needed = ctx.needs_input_grad[:2]
        with selecting(ctx.backend):  # a thread of its own computes derivatives on CUDA
            grads = ROW_GRADIENTS(grad_output, *_saved(ctx), *ctx.settings, sides_code(*needed))
        return *(grad if need else None for grad, need in zip(grads, needed, strict=True)), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None]:
        saved = _saved(ctx)
        with jvp_levels() as there_are_levels:
            along = _directional(map(primal, saved) if there_are_levels else saved, tangents[:2], ctx.settings)
        return along, None


def _directional(saved: Iterable[Tensor], tangents: Sequence[Tensor | None], settings: Sequence[Any]) -> Tensor:
    """The derivative of each row's value along the tangents."""
    values, *others = saved
    sides = sides_code(tangents[0] is not None, tangents[1] is not None)
    grads = ROW_GRADIENTS(torch.ones_like(values), values, *others, *settings, sides)
    parts = [
        (grad * tangent).sum(-1, dtype=torch.float64)
        for grad, tangent in zip(grads, tangents, strict=True)
        if tangent is not None
    ]
    derivative: Tensor = sum(parts[1:], parts[0])
    return derivative


class _RowGradients(SingleLevelFunction):
    """The gradients of each row, with a backward pass. In forward mode the differentiable gradients replace them."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        grads: tuple[Tensor, Tensor] = lower_levels(ROW_GRADIENTS, *args)
        ctx.settings = args[5:]
        _save(ctx, *args[:4])
        wanted = side_flags(args[-1])
        ctx.mark_non_differentiable(*(grad for grad, need in zip(grads, wanted, strict=True) if not need))
        ctx.set_materialize_grads(False)
        return grads

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> _Grads:
        saved = [x.clone() if x.is_inference() else x for x in _saved(ctx)]
        found = vjp(lambda *tensors: differentiable_gradients(*tensors, *ctx.settings), saved, cotangents)
        needed = zip(found, ctx.needs_input_grad, strict=False)
        return *(grad if need else None for grad, need in needed), None, *(None for _ in ctx.settings)


def _divergence_autograd(p: Tensor, q: Tensor, *settings: Any) -> Any:
    if needs_gradient(p, q) or has_tangent(p, q):
        return apply_function(_RowDivergence, p, q, *settings)[0]
    return below_autograd(ROW_DIVERGENCE, p, q, *settings)


def _divergence_and_masses_autograd(p: Tensor, q: Tensor, *settings: Any) -> Any:
    if needs_gradient(p, q) or has_tangent(p, q):
        return apply_function(_RowDivergence, p, q, *settings)
    return below_autograd(ROW_DIVERGENCE_AND_MASSES, p, q, *settings)


def _gradients_autograd(*args: Any) -> Any:
    if has_tangent(*args[:4]):
        return differentiable_gradients(*args[:4], *args[5:])
    if needs_gradient(*args[:4]):
        return apply_function(_RowGradients, *args)
    return below_autograd(ROW_GRADIENTS, *args)


LIBRARY.impl("row_divergence", _divergence_autograd, "Autograd")
LIBRARY.impl("row_divergence_and_masses", _divergence_and_masses_autograd, "Autograd")
LIBRARY.impl("row_gradients_by_masses", _gradients_autograd, "Autograd")
LIBRARY.impl("row_divergences", partial(below_autograd, ROW_DIVERGENCES), "Autograd")
