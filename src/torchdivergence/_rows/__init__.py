"""The engine: one value a row, with its gradient. It chooses, call by call, the code that suits the tensors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchdivergence._generators import Generator
from torchdivergence._rows import eager


def divergence(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], generator: Generator) -> Tensor:
    """The divergence of each row of p from that of q, in nats, ``[*batch]`` in float64.

    Args:
        p: ``[*batch, classes]``, any strides.
        q: Likewise.
        log_prob: For p and for q: True for logits or log-probabilities, False for probabilities or counts.
        generator: Which divergence.
    """
    if torch.is_grad_enabled() and (p.requires_grad or q.requires_grad):
        return _Divergence.apply(p, q, log_prob, generator)  # type: ignore[no-any-return, no-untyped-call]
    return eager.divergence(p, q, log_prob, generator)


class _Divergence(torch.autograd.Function):
    """The same, with a backward pass that makes the gradients and nothing else of their size."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], generator: Generator) -> Tensor:
        values = eager.divergence(p, q, log_prob, generator)
        ctx.save_for_backward(p, q, values)
        ctx.log_prob = log_prob
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        p, q, values = ctx.saved_tensors
        return *eager.gradients(p, q, ctx.log_prob, values, slope, ctx.needs_input_grad[:2]), None, None
