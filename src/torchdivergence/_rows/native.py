"""The native backend: rows of plain CPU tensors in C (src/native/), if the extension was built."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from torchdivergence._divergences import Term
from torchdivergence._extension import native
from torchdivergence._rows.reference import blocks
from torchdivergence._rows.reference import gradients as gradients  # the extension has none of its own
from torchdivergence._rows.reference import supports_gradients as supports_gradients

_LAYOUT: dict[str, Any] = native.LAYOUT if native else {"terms": (), "dtypes": {}, "max_dims": 0, "max_terms": 1}
TERM_CODES = {name: index for index, name in enumerate(_LAYOUT["terms"])}
DTYPE_CODES = {getattr(torch, name): code for name, code in _LAYOUT["dtypes"].items()}
_BLOCK = 1 << 20  # numbers copied at a time if the classes are not contiguous
_LEAST_TEMPERATURE = 1e-300  # the inverse of a smaller one may be infinite


def supports(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, term: Term) -> bool:  # noqa: ARG001
    """Whether these tensors and this term are supported; the number of rows does not matter."""
    if term.name not in TERM_CODES or p.dim() - 1 > _LAYOUT["max_dims"] or temperature < _LEAST_TEMPERATURE:
        return False
    return _has_plain_memory(p) and _has_plain_memory(q)


def _has_plain_memory(x: Tensor) -> bool:
    """Whether the numbers lie at the address of the tensor; subclasses without memory never come to a kernel."""
    return x.is_cpu and x.dtype in DTYPE_CODES and not x.is_neg() and (x.data_ptr() != 0 or x.numel() == 0)


def supports_tokens(columns: Iterable[Tensor], temperature: float) -> bool:
    """Whether :func:`token_columns` supports these columns."""
    return bool(native) and temperature >= _LEAST_TEMPERATURE and all(x.is_cpu for x in columns)


def token_columns(
    sides: Iterable[tuple[Tensor, Tensor, Tensor]], log_prob: tuple[bool, bool], temperature: float, target: Tensor
) -> dict[str, Tensor]:
    """The columns of rows with a target: see :func:`torchdivergence._rows.tokens.target_columns`.

    Args:
        sides: Of p and of q: the weight of the target, the logarithm of the normalizer and the most likely class,
            float64 ``[*batch]``.
        log_prob: For p and for q, whether the weights are logarithms.
        temperature: Divides the logits.
        target: Indices of classes, ``[*batch]``.
    """
    names = _LAYOUT["columns"]
    values = torch.empty(len(names), *target.shape, dtype=torch.float64, device=target.device)
    target, *known = (x.contiguous() for x in (target.double(), *chain.from_iterable(sides)))
    of_p, of_q = (tuple(x.data_ptr() for x in side) for side in (known[:3], known[3:]))
    p, q = (*of_p, log_prob[0]), (*of_q, log_prob[1])
    native.token_columns(p, q, target.data_ptr(), target.numel(), temperature, values.data_ptr())
    return dict(zip(names, values.unbind(), strict=True))


def term_sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """See :func:`torchdivergence._rows.reference.term_sums`."""
    at_once = _LAYOUT["max_terms"]
    if len(terms) > at_once:
        parts = [terms[start : start + at_once] for start in range(0, len(terms), at_once)]
        return torch.cat([term_sums(p, q, log_prob, temperature, part) for part in parts])
    if _contiguous_classes(p) and _contiguous_classes(q):
        return _term_sums(p, q, log_prob, temperature, terms)
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    for block in blocks(p.shape, _BLOCK):
        a, b = (x[block] if _contiguous_classes(x) else x[block].contiguous() for x in (p, q))
        values[(slice(None), *block)] = _term_sums(a, b, log_prob, temperature, terms)
        del a, b  # before the next are allocated
    return values


def _term_sums(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]
) -> Tensor:
    batch = p.shape[:-1]
    values = torch.empty(len(terms), *batch, dtype=torch.float64, device=p.device)
    a, b = (_address(x, is_log) for x, is_log in zip((p, q), log_prob, strict=True))
    requests = tuple((TERM_CODES[term.name], term.parameter) for term in terms)
    if values.numel():
        native.term_sums(a, b, batch, p.shape[-1], temperature, requests, values.data_ptr(), torch.get_num_threads())
    return values


def _address(x: Tensor, is_log: bool) -> tuple[int, int, bool, tuple[int, ...]]:
    """A tensor as the extension reads it."""
    return x.data_ptr(), DTYPE_CODES[x.dtype], is_log, x.stride()[:-1]


def _contiguous_classes(x: Tensor) -> bool:
    return x.stride(-1) == 1 or x.shape[-1] == 1
