"""The engine: one value a row, with its gradient. It chooses, call by call, the code that suits the tensors."""

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchdivergence._generators import Generator
from torchdivergence._rows import eager, narrow


def divergence(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generator: Generator) -> Tensor:
    """The divergence of each row of p from that of q, in nats, ``[*batch]`` in float64.

    Args:
        p: ``[*batch, classes]``, any strides.
        q: Likewise.
        log_prob: For p and for q: True for logits or log-probabilities, False for probabilities or counts.
        temperature: What the logarithms are divided by.
        generator: Which divergence.
    """
    if torch.is_grad_enabled() and (p.requires_grad or q.requires_grad):
        return _Divergence.apply(p, q, log_prob, temperature, generator)  # type: ignore[no-any-return, no-untyped-call]
    return _values(p, q, log_prob, temperature, generator)


def divergences(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generators: tuple[Generator, ...]
) -> tuple[Tensor, ...]:
    """The values of several divergences from one pass over the classes, without gradients."""
    if len(generators) == 1:
        return (_values(p, q, log_prob, temperature, generators[0]),)
    return eager.divergences(p, q, log_prob, temperature, generators)


def _values(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generator: Generator) -> Tensor:
    if p.is_cuda and (kernels := _triton()) and kernels.suits(p, q, generator):
        return kernels.divergence(p, q, log_prob, temperature)  # type: ignore[no-any-return]
    if narrow.suits(p, q, log_prob, temperature, generator):
        return narrow.divergence(p, q, temperature, generator)
    return eager.divergence(p, q, log_prob, temperature, generator)


@cache
def _triton() -> ModuleType | None:
    try:
        from torchdivergence._rows import triton
    except ImportError:
        return None
    return triton


class _Divergence(torch.autograd.Function):
    """The same, with a backward pass that makes the gradients and nothing else of their size."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, *settings: Any) -> Tensor:
        values = _values(p, q, *settings)
        ctx.save_for_backward(p, q, values)
        ctx.settings = settings
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        p, q, values = ctx.saved_tensors
        log_prob, temperature, generator = ctx.settings
        needed = ctx.needs_input_grad[:2]
        grads = eager.gradients(p, q, log_prob, temperature, generator, values, slope, needed)
        return *grads, None, None, None
