"""The operators of rows, registered with torch's dispatcher, and their kernels.

The dispatcher sends every kind of tensor to the right rule: plain tensors to the kernels here, meta and fake tensors to
the shapes, tensors that need derivatives to ``derivatives``, batched tensors and DTensors to ``transforms``. Only in a
kernel may a backend read memory.

A compiled program on disk knows an operator by its name: an operator whose arguments, derivatives or shapes change gets
a new name.
"""

from collections.abc import Sequence
from functools import cache
from math import inf
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from torchdivergence import _extension
from torchdivergence._backends import AUTO, NATIVE, REFERENCE, TRITON, missing, selected
from torchdivergence._divergences import LOG_MASSES, Divergence, Term, by_key
from torchdivergence._rows import native, reference

NAMESPACE = "torchdivergence"
LIBRARY = Library(NAMESPACE, "DEF")
# The first setting is an integer: DTensor tells two calls apart by the arguments from the first integer on.
_SETTINGS = "int log_prob, float temperature"
_SIDES = f"Tensor p, Tensor q, {_SETTINGS}"
for _schema in (
    f"row_divergence({_SIDES}, str divergence) -> Tensor",
    f"row_divergence_and_masses({_SIDES}, str divergence) -> (Tensor, Tensor)",
    f"row_gradients_by_masses(Tensor grad_output, Tensor values, Tensor p, Tensor q, Tensor log_masses, {_SETTINGS}, "
    "str divergence, int sides) -> (Tensor, Tensor)",
    f"row_divergences({_SIDES}, int count, str divergences) -> Tensor",
):
    LIBRARY.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

ROW_DIVERGENCE = torch.ops.torchdivergence.row_divergence.default
ROW_DIVERGENCE_AND_MASSES = torch.ops.torchdivergence.row_divergence_and_masses.default
ROW_GRADIENTS = torch.ops.torchdivergence.row_gradients_by_masses.default
ROW_DIVERGENCES = torch.ops.torchdivergence.row_divergences.default


def sides_code(p: bool, q: bool) -> int:
    """A flag for p and one for q in one integer."""
    return p + 2 * q


def side_flags(code: int) -> tuple[bool, bool]:
    """The flag for p and the one for q."""
    return bool(code & 1), bool(code & 2)


def evaluate(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, divergences: Sequence[Divergence]
) -> list[Tensor]:
    """Several divergences of each row from one pass over the classes, for tensors whose memory may be read."""
    terms = tuple(dict.fromkeys(term for divergence in divergences for term in divergence.terms))
    sums = _term_sums(p, q, log_prob, temperature, terms)
    return [_value(divergence, [sums[term] for term in divergence.terms]) for divergence in divergences]


def _value(divergence: Divergence, sums: list[Tensor]) -> Tensor:
    value = divergence.finalize(*sums)
    return value.clamp(max=divergence.upper_bound) if divergence.upper_bound < inf else value


def _term_sums(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]
) -> dict[Term, Tensor]:
    """The sums of some terms over the classes, each by the fastest backend that supports it."""
    sums: dict[Term, Tensor] = {}
    for backend in _candidates(p):
        supported = tuple(
            term for term in terms if term not in sums and backend.supports(p, q, log_prob, temperature, term)
        )
        if supported:
            sums.update(zip(supported, backend.term_sums(p, q, log_prob, temperature, supported), strict=True))
    if len(sums) < len(terms):
        lacking = ", ".join(term.name for term in terms if term not in sums)
        raise _unsupported(lacking, p, q, temperature)
    return sums


def _unsupported(quantity: str, p: Tensor, q: Tensor, temperature: float) -> NotImplementedError:
    return NotImplementedError(
        f"backend {selected()!r} does not support {quantity} of {p.dtype} and {q.dtype} tensors on {p.device} at "
        f"temperature {temperature:g}. Use the backend 'auto', which falls back to the reference."
    )


def _candidates(p: Tensor) -> Sequence[Any]:
    """The backends to try, the fastest first."""
    name = selected()
    if name != AUTO:
        if reason := missing()[name]:
            raise RuntimeError(f"backend {name!r} is missing: {reason}.")
        return (_triton() if name == TRITON else {NATIVE: native, REFERENCE: reference}[name],)
    if p.is_cuda:
        return (triton, reference) if (triton := _triton()) else (reference,)
    if _extension.missing and p.is_cpu:
        _extension.warn_of_missing()
    return native, reference


def triton_for(*tensors: Tensor) -> Any | None:
    """The Triton backend, for tensors on CUDA if it may be used."""
    return _triton() if selected() in (AUTO, TRITON) and all(x.is_cuda for x in tensors) else None


@cache
def _triton() -> ModuleType | None:
    try:
        from torchdivergence._rows import triton
    except ImportError:
        return None
    return triton


def _divergence_kernel(p: Tensor, q: Tensor, log_prob: int, temperature: float, divergence: str) -> Tensor:
    return evaluate(p, q, side_flags(log_prob), temperature, (by_key(divergence),))[0]


def _divergence_and_masses_kernel(
    p: Tensor, q: Tensor, log_prob: int, temperature: float, divergence: str
) -> tuple[Tensor, Tensor]:
    """The values, and the logarithms of the normalizers of p and q, ``[2, *batch]``; 0 if no backend reads them."""
    if not _reads_masses(p):
        values = _divergence_kernel(p, q, log_prob, temperature, divergence)
        return values, values.new_zeros((2, *values.shape))
    numerics = [by_key(key) for key in (divergence, *LOG_MASSES)]
    values, *log_masses = evaluate(p, q, side_flags(log_prob), temperature, numerics)
    return values.clone(), torch.stack(log_masses)  # values may be a view, whose tangents torch would refuse


def _reads_masses(p: Tensor) -> bool:
    """Whether gradients may come from a backend that reads log-masses."""
    return p.is_cuda


def _divergences_kernel(
    p: Tensor, q: Tensor, log_prob: int, temperature: float, count: int, divergences: str
) -> Tensor:
    numerics = [by_key(key) for key in divergences.split()]
    assert count == len(numerics)
    return torch.stack(evaluate(p, q, side_flags(log_prob), temperature, numerics))


def _gradients_kernel(
    grad_output: Tensor, values: Tensor, p: Tensor, q: Tensor, log_masses: Tensor, *settings: Any
) -> tuple[Tensor, ...]:
    """The gradients of p and of q; an empty tensor for a side that is not wanted."""
    log_prob, temperature, key, sides = settings
    call = p, q, side_flags(log_prob), temperature, by_key(key)
    backend = next((x for x in _candidates(p) if x.supports_gradients(*call)), None)
    if backend is None:
        raise _unsupported(f"gradients of {key}", p, q, temperature)
    grads = backend.gradients(*call, values, log_masses, grad_output, side_flags(sides))
    return tuple(x.new_empty(0) if grad is None else grad for x, grad in zip((p, q), grads, strict=True))


def _divergence_shape(p: Tensor, *_: object) -> Tensor:
    return torch.empty(p.shape[:-1], dtype=torch.float64, device=p.device)


def _divergence_and_masses_shape(p: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return _divergence_shape(p), torch.empty((2, *p.shape[:-1]), dtype=torch.float64, device=p.device)


def _divergences_shape(p: Tensor, *settings: Any) -> Tensor:
    return torch.empty((settings[-2], *p.shape[:-1]), dtype=torch.float64, device=p.device)


def _gradients_shape(grad_output: Tensor, values: Tensor, p: Tensor, q: Tensor, *settings: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    wanted = side_flags(settings[-1])
    return tuple(torch.empty_like(x) if need else x.new_empty(0) for x, need in zip((p, q), wanted, strict=True))


for _name, _kernel, _shape in (
    ("row_divergence", _divergence_kernel, _divergence_shape),
    ("row_divergences", _divergences_kernel, _divergences_shape),
    ("row_divergence_and_masses", _divergence_and_masses_kernel, _divergence_and_masses_shape),
    ("row_gradients_by_masses", _gradients_kernel, _gradients_shape),
):
    LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    LIBRARY.impl(_name, _shape, "Meta")  # register_fake does the same, and takes 15 ms each
