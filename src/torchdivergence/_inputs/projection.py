"""The projection of hidden states to logits, in a precision of its own.

A head is any callable. While it runs, its matrix products are computed in the dtype of the hidden states. Weights of
another dtype are cast a part at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torchmetrics.utilities.prints import rank_zero_warn

_PART = 1 << 22  # numbers of a weight that are cast at a time
_NONE: Mapping[str, Any] = MappingProxyType({})
_ROUNDING = 1e-2  # of the largest logit; a larger difference is none of rounding
_MASKED = 1e30  # the least size of a logit that stands for a class without mass
_CHECKED: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""Heads that were checked, and their numbers of classes."""
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)


def project(head: Callable[[Tensor], Tensor], hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """The logits of hidden states, ``[rows, width]``, computed in a dtype."""
    with torch.autocast(hidden.device.type, enabled=False), _CastWeights(dtype):
        return head(hidden.to(dtype))


def check_rows_alone(head: Any, projection: Callable[[Tensor], Tensor], hidden: Tensor, logits: Tensor) -> None:
    """Raise unless the head gives a row its logits whatever the other rows are. Each head is checked once.

    Warns if only the last bits depend on the place of a row in the block.
    """
    if head in _CHECKED or len(hidden) == 1 or hidden.is_meta:
        return
    others = hidden.detach().flip(0)
    others[:1] = others[-1:]
    with torch.no_grad():
        again = projection(others).flip(0)[:-1].nan_to_num()
    first = logits.detach()[:-1].nan_to_num()
    if not torch.equal(first, again):
        apart = (first - again).abs().max()
        ordinary = first.abs().masked_fill(first.abs() > _MASKED, 0.0)
        if not apart <= _ROUNDING * ordinary.max():
            raise ValueError(
                "the head must give a row the same logits whatever the other rows are, but they differ by up to "
                f"{apart:.2g}: call eval() if it has dropout or batch normalization."
            )
        rank_zero_warn(
            "the last bits of the projected logits depend on the place of a row in its block, with this head and the "
            "matrix product of this device. Values are right, but not bitwise reproducible for other batch sizes.",
            UserWarning,
        )
    _CHECKED[head] = logits.shape[-1]


def known_classes(head: Any) -> int | None:
    """The number of classes of a head that tells it, or that was checked before."""
    classes = getattr(head, "out_features", None)
    return classes if isinstance(classes, int) else _CHECKED.get(head)


class _CastWeights(TorchFunctionMode):
    """Casts the weights of matrix products, a part at a time, and small tensors, such as biases, at once."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.linear:
            return self._linear(*args, **(kwargs or _NONE))
        if func in _PRODUCTS and self._is_other(args[1]) and args[1].ndim == 2:
            return self._linear(args[0], args[1].t())
        if getattr(func, "__name__", "").endswith("_") or "out" in (kwargs or _NONE):  # in place, or an attribute
            return func(*args, **(kwargs or _NONE))
        named = {name: self._small(x) for name, x in (kwargs or _NONE).items()}
        return func(*map(self._small, args), **named)

    def _linear(self, hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = bias.to(self.dtype) if bias is not None else None
        if not self._is_other(weight):
            return torch.nn.functional.linear(hidden, weight, bias)
        product: Tensor = _LinearInParts.apply(hidden, weight)  # type: ignore[no-untyped-call]
        return product if bias is None else product + bias

    def _small(self, x: Any) -> Any:
        return x.to(self.dtype) if self._is_other(x) and x.ndim < 2 else x

    def _is_other(self, x: object) -> bool:
        return isinstance(x, Tensor) and x.is_floating_point() and x.dtype != self.dtype


class _LinearInParts(torch.autograd.Function):
    """``hidden @ weight.T`` in the dtype of ``hidden``. The whole weight is never cast at once."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        output = hidden.new_empty(*hidden.shape[:-1], len(weight))
        for part in _parts(weight):
            output[..., part] = torch.nn.functional.linear(hidden, weight[part].to(hidden.dtype))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None]:
        hidden, weight = ctx.saved_tensors
        needs_hidden, needs_weight = ctx.needs_input_grad
        grad_hidden = torch.zeros_like(hidden) if needs_hidden else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        for part in _parts(weight):
            grad = grad_output[..., part]
            if grad_hidden is not None:
                grad_hidden += grad @ weight[part].to(hidden.dtype)
            if grad_weight is not None:
                grad_weight[part] = grad.flatten(0, -2).t() @ hidden.flatten(0, -2)
        return grad_hidden, grad_weight


def _parts(weight: Tensor) -> Iterator[slice]:
    """Slices of the classes."""
    step = max(1, _PART // weight.shape[1])
    return (slice(start, start + step) for start in range(0, len(weight), step))
