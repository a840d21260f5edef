"""The Triton backend: rows on a GPU, in float32 with the digits of small differences kept."""

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch
import triton
from torch import Tensor

from torchdivergence._divergences import LOG_MASSES, Divergence, Term, by_key
from torchdivergence._layout import CORRECTNESS_COLUMNS, TARGET_COLUMNS
from torchdivergence._rows.triton.arguments import SHORT, as_float32, short_program
from torchdivergence._rows.triton.gradients import gradients as gradients
from torchdivergence._rows.triton.gradients import has_gradients
from torchdivergence._rows.triton.layout import MAX_DIMS, row_layout
from torchdivergence._rows.triton.long_rows import long_rows
from torchdivergence._rows.triton.mixture import mixture_polynomial
from torchdivergence._rows.triton.short_rows import short_rows
from torchdivergence._rows.triton.token_columns import token_columns as _token_columns

_ROWS = 256
"""Rows a program of the columns of targets."""
_NARROW = (torch.float16, torch.bfloat16, torch.float32)
_TEMPERATURES = 1e-4, 1e4
_BETAS = 1e-6, 1 - 1e-6
_ALPHAS = -2.0, 3.0
_NEAREST = 1e-6
"""The least distance of alpha from 0 and from 1."""
FIRST_TERMS = ("kl", "log_mass_p", "log_mass_q", "top_p", "top_q")
"""Terms that need one reading of a row."""
TERMS = (
    *FIRST_TERMS,
    *("reverse_kl", "jeffreys", "jensen_shannon", "total_variation", "squared_hellinger"),
    *("small_entropy", "small_share", "overlap", "mass_of_p", "chi_squared", "alpha", "log_powers"),
)


def supports(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, term: Term) -> bool:  # noqa: ARG001
    """Whether these tensors and this term are supported; the number of rows does not matter."""
    return (
        p.is_cuda
        and p.dtype in _NARROW
        and q.dtype in _NARROW
        and _TEMPERATURES[0] <= temperature <= _TEMPERATURES[1]
        and term.name in TERMS
        and _supports_parameter(term)
    )


def _supports_parameter(term: Term) -> bool:
    kind, x = _parameter(term)
    if kind == "alpha":
        return _ALPHAS[0] <= x <= _ALPHAS[1] and min(abs(x), abs(x - 1)) >= _NEAREST
    return kind != "beta" or _BETAS[0] <= x <= _BETAS[1]


def _parameter(term: Term) -> tuple[str, float]:
    """The parameter of a kernel that a term needs, and its value."""
    if term.name in ("chi_squared", "alpha", "log_powers"):
        return "alpha", term.parameter or 2.0
    return ("beta", term.parameter) if term.name == "jensen_shannon" else ("", 0.0)


def supports_gradients(
    p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, divergence: Divergence
) -> bool:
    """Whether gradients of a divergence with respect to these tensors are supported."""
    [log_mass] = by_key(LOG_MASSES[0]).terms
    return supports(p, q, log_prob, temperature, log_mass) and has_gradients(divergence, log_prob)


def term_sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """See :func:`torchdivergence._rows.reference.term_sums`."""
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    if values.numel():
        with torch.cuda.device_of(p):
            _fill(values, p, q, log_prob, temperature, terms)
    return values


def supports_tokens(p: Tensor, q: Tensor) -> bool:
    """Whether :func:`token_columns` supports the layout of these tensors."""
    return len(row_layout(p, q).sizes) <= MAX_DIMS


def token_columns(
    sides: tuple[Tensor, Tensor],
    log_masses: Sequence[Tensor],
    tops: Sequence[Tensor],
    target: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
) -> dict[str, Tensor]:
    """See :func:`torchdivergence._rows.tokens.target_columns`."""
    names = *TARGET_COLUMNS, *CORRECTNESS_COLUMNS
    values = torch.empty(len(names), *target.shape, dtype=torch.float64, device=target.device)
    if rows := target.numel():
        (p, q), columns = sides, (x.contiguous() for x in (target, *log_masses, *tops))
        shapes = *row_layout(p, q).arguments, p.shape[-1]
        with torch.cuda.device_of(values):
            _token_columns[(triton.cdiv(rows, _ROWS),)](
                values, p, q, *columns, rows, *shapes, _bits(temperature), *log_prob, _ROWS, enable_fp_fusion=False
            )
    return dict(zip(names, values.unbind(), strict=True))


def _bits(x: float) -> int:
    """The bits of a float64."""
    return int.from_bytes(struct.pack("<d", x), "little")


def _fill(
    values: Tensor, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]
) -> None:
    layout = row_layout(p, q)
    if len(layout.sizes) > MAX_DIMS:
        sums = [term_sums(x, y, log_prob, temperature, terms) for x, y in zip(p, q, strict=True)]
        values.copy_(torch.stack(sums, 1))
        return
    rows, classes = math.prod(p.shape[:-1]), p.shape[-1]
    rate, log2_rate = 1 / temperature, math.log2(math.e) / temperature
    for places, alpha, beta in _requests(terms):
        floats = rate, rate - as_float32(rate), log2_rate, alpha, alpha - as_float32(alpha), beta, 1 - beta
        settings = map(as_float32, (*floats, *mixture_polynomial(beta)))
        inputs = p, q, values, rows, *layout.arguments, classes, *settings, *log_prob, temperature != 1
        sizes, options = program(classes)
        constants = *sizes.values(), *slots(places).values()
        if "R" in sizes:
            short_rows[(triton.cdiv(rows, sizes["R"]),)](*inputs, *constants, **options)
        else:
            long_rows[(rows,)](*inputs, *layout.units, *constants, **options)


def program(classes: int) -> tuple[dict[str, int], dict[str, int | bool]]:
    """The sizes that are compiled into the kernel for so many classes, and the options of its compilation."""
    if classes <= SHORT:
        return short_program(classes)
    lanes = 128 if classes <= 8192 else 256
    # with fewer registers a thread, ptxas keeps some numbers of the inner loop in memory
    return {"T": lanes}, {"num_warps": lanes // 32, "enable_fp_fusion": False, "maxnreg": 240}


def slots(places: dict[str, int]) -> dict[str, int | bool]:
    """What is compiled into a kernel for the terms with these places: AGAIN if some need a second reading."""
    again = any(name not in FIRST_TERMS for name in places)
    return {"AGAIN": again} | {name.upper(): places.get(name, -1) for name in TERMS}


def _requests(terms: tuple[Term, ...]) -> Iterator[tuple[dict[str, int], float, float]]:
    """For each launch of a kernel: the places of its terms among all, alpha and beta."""
    parameters = [_parameter(term) for term in terms]
    alphas, betas = ([x for kind, x in dict.fromkeys(parameters) if kind == name] for name in ("alpha", "beta"))
    for launch, (alpha, beta) in enumerate(zip_longest(alphas or [2.0], betas or [0.5])):
        served = {("alpha", alpha), ("beta", beta), ("", float(launch))}
        places = {
            term.name: place for place, (term, x) in enumerate(zip(terms, parameters, strict=True)) if x in served
        }
        yield places, alpha or 2.0, beta or 0.5
