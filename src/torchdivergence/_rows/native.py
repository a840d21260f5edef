"""Rows on the CPU by compiled code, if the package was built with a compiler: see src/native/row.h."""

import torch
from torch import Tensor

from torchdivergence._divergences.spec import Term
from torchdivergence._extension import native
from torchdivergence._rows.reference import blocks

_SUMS = {name: place for place, name in enumerate(native.LAYOUT["terms"])} if native else {}
_DTYPES = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2, torch.float16: 3}
_MOST_DIMS = 16
_BLOCK = 1 << 20  # numbers that are copied at a time, if the classes lie apart
_LEAST_TEMPERATURE = 1e-300  # the inverse of a smaller one may be infinite


def suits(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, term: Term) -> bool:  # noqa: ARG001
    """Whether these rows are for here; their number has no say in it."""
    fits = p.dim() <= _MOST_DIMS and temperature >= _LEAST_TEMPERATURE
    return term.name in _SUMS and fits and _is_plain(p) and _is_plain(q)


def _is_plain(x: Tensor) -> bool:
    """Whether the numbers lie in memory as they are: a subclass may have none, or a negative view others."""
    plain = type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu" and x.dtype in _DTYPES
    return plain and not x.is_neg() and (x.data_ptr() != 0 or x.numel() == 0)


def sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """See :func:`torchdivergence._rows.reference.sums`."""
    most = native.LAYOUT["max_terms"]
    if len(terms) > most:
        return torch.cat([sums(p, q, log_prob, temperature, terms[k : k + most]) for k in range(0, len(terms), most)])
    if _adjacent(p) and _adjacent(q):
        return _sums(p, q, log_prob, temperature, terms)
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    for block in blocks(p.shape, _BLOCK):
        a, b = (x[block] if _adjacent(x) else x[block].contiguous() for x in (p, q))
        values[:, *block] = _sums(a, b, log_prob, temperature, terms)
        del a, b  # before there are the next
    return values


def _sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    batch = p.shape[:-1]
    values = torch.empty(len(terms), *batch, dtype=torch.float64, device=p.device)
    a, b = (
        (x.data_ptr(), _DTYPES[x.dtype], is_log, x.stride()[:-1]) for x, is_log in zip((p, q), log_prob, strict=True)
    )
    wanted = tuple((_SUMS[term.name], term.parameter) for term in terms)
    if values.numel():
        native.term_sums(a, b, batch, p.shape[-1], temperature, wanted, values.data_ptr(), torch.get_num_threads())
    return values


def _adjacent(x: Tensor) -> bool:
    return x.stride(-1) == 1 or x.shape[-1] == 1
