"""The engine: one value a row, with its gradient. It chooses, call by call, the code that suits the tensors."""

from functools import cache
from math import inf
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchdivergence._divergences.spec import Generator, Term
from torchdivergence._extension import opaque
from torchdivergence._rows import native, reference


@opaque
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
    return divergences(p, q, log_prob, temperature, (generator,))[0]


def divergences(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generators: tuple[Generator, ...]
) -> tuple[Tensor, ...]:
    """The values of several divergences from one pass over the classes, without gradients."""
    terms = tuple(dict.fromkeys(term for generator in generators for term in generator.terms))
    found = sums(p, q, log_prob, temperature, terms)
    return tuple(_value(generator, [found[term] for term in generator.terms]) for generator in generators)


@opaque
def sums(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]
) -> dict[Term, Tensor]:
    """The sums of some terms over the classes, each ``[*batch]`` in float64, from one pass."""
    found: dict[Term, Tensor] = {}
    for engine in _engines(p):
        suited = tuple(term for term in terms if term not in found and engine.suits(p, q, log_prob, temperature, term))
        if suited:
            found.update(zip(suited, engine.sums(p, q, log_prob, temperature, suited), strict=True))
    return found


def _value(generator: Generator, sums: list[Tensor]) -> Tensor:
    value = generator.finish(*sums)
    return value.clamp(max=generator.largest) if generator.largest < inf else value


def _engines(p: Tensor) -> tuple[Any, ...]:
    """From the fastest on; the last one suits every row."""
    if p.is_cuda:
        return (triton, reference) if (triton := _triton()) else (reference,)
    return native, reference


@cache
def _triton() -> ModuleType | None:
    try:
        from torchdivergence._rows import triton_kl
    except ImportError:
        return None
    return triton_kl


class _Divergence(torch.autograd.Function):
    """The same, with a backward pass that makes the gradients and nothing else of their size."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, *settings: Any) -> Tensor:
        log_prob, temperature, generator = settings
        (values,) = divergences(p, q, log_prob, temperature, (generator,))
        ctx.save_for_backward(p, q, values)
        ctx.settings = settings
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        p, q, values = ctx.saved_tensors
        log_prob, temperature, generator = ctx.settings
        needed = ctx.needs_input_grad[:2]
        grads = reference.gradients(p, q, log_prob, temperature, generator, values, slope, needed)
        return *grads, None, None, None
