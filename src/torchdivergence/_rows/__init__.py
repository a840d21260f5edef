"""One value per row, with its gradient. Each call goes to the backend that supports its tensors.

The choice depends on device, dtype and settings, never on the number of rows: results are batch-invariant.
"""

from collections.abc import Sequence
from functools import cache
from math import inf
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchdivergence._backends import AUTO, NATIVE, REFERENCE, TRITON, selected
from torchdivergence._compile import dynamo_disable
from torchdivergence._divergences import Divergence, Term
from torchdivergence._rows import native, reference


@dynamo_disable
def row_divergence(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, divergence: Divergence
) -> Tensor:
    """The divergence of each row in nats, ``[*batch]`` in float64, with gradients.

    Args:
        p: ``[*batch, classes]``, any strides.
        q: Likewise.
        log_prob: For p and for q: True for logits or log-probabilities, False for probabilities or counts.
        temperature: Divides the logits.
        divergence: Which divergence.
    """
    if torch.is_grad_enabled() and (p.requires_grad or q.requires_grad):
        return _RowDivergence.apply(p, q, log_prob, temperature, divergence)  # type: ignore[no-any-return, no-untyped-call]
    return row_divergences(p, q, log_prob, temperature, (divergence,))[0]


def row_divergences(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, divergences: Sequence[Divergence]
) -> tuple[Tensor, ...]:
    """Several divergences of each row from one pass over the classes, without gradients."""
    terms = tuple(dict.fromkeys(term for divergence in divergences for term in divergence.terms))
    sums = term_sums(p, q, log_prob, temperature, terms)
    return tuple(_value(divergence, [sums[term] for term in divergence.terms]) for divergence in divergences)


@dynamo_disable
def term_sums(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]
) -> dict[Term, Tensor]:
    """The sums of some terms over the classes, each ``[*batch]`` in float64, from one pass.

    Raises:
        NotImplementedError: A backend was chosen that does not support a term or the tensors.
    """
    sums: dict[Term, Tensor] = {}
    for backend in _candidates(p):
        supported = tuple(
            term for term in terms if term not in sums and backend.supports(p, q, log_prob, temperature, term)
        )
        if supported:
            sums.update(zip(supported, backend.term_sums(p, q, log_prob, temperature, supported), strict=True))
    if len(sums) < len(terms):
        lacking = ", ".join(term.name for term in terms if term not in sums)
        raise NotImplementedError(
            f"backend {selected()!r} does not support {lacking} of {p.dtype} and {q.dtype} tensors on {p.device} at "
            f"temperature {temperature:g}. Use the backend 'auto', which falls back to the reference."
        )
    return sums


def _value(divergence: Divergence, sums: list[Tensor]) -> Tensor:
    value = divergence.finalize(*sums)
    return value.clamp(max=divergence.upper_bound) if divergence.upper_bound < inf else value


def _candidates(p: Tensor) -> Sequence[Any]:
    """The backends to try, the fastest first."""
    name = selected()
    if name != AUTO:
        chosen = {NATIVE: native, TRITON: _triton(), REFERENCE: reference}[name]
        return (chosen,) if chosen else ()
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


class _RowDivergence(torch.autograd.Function):
    """The divergence with a backward pass that allocates the gradients and nothing else of their size."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, *settings: Any) -> Tensor:
        log_prob, temperature, divergence = settings
        (values,) = row_divergences(p, q, log_prob, temperature, (divergence,))
        ctx.save_for_backward(p, q, values)
        ctx.settings = settings
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        p, q, values = ctx.saved_tensors
        log_prob, temperature, divergence = ctx.settings
        needed = ctx.needs_input_grad[:2]
        grads = reference.gradients(p, q, log_prob, temperature, divergence, values, grad_output, needed)
        return *grads, None, None, None
