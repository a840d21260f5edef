"""Gradients of rows by the Triton kernels: which divergences have a formula, and the launch of a kernel."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from torchdivergence._divergences import HELLINGER, Divergence
from torchdivergence._rows.triton import log_gradients as kinds
from torchdivergence._rows.triton.arguments import SHORT, as_float32, short_program
from torchdivergence._rows.triton.layout import MAX_DIMS, row_layout
from torchdivergence._rows.triton.long_gradients import long_gradients
from torchdivergence._rows.triton.short_gradients import short_gradients

_LARGEST_ORDER = 4.0
"""Powers p**alpha q**(1 - alpha) of higher orders lose more digits in float32 than is promised."""
_SMOOTH = 0.3
"""At zero probabilities, powers of alpha or 1 - alpha between 0 and this do not vanish in the reference."""


class Formula(NamedTuple):
    """The derivatives of a divergence: their kinds for p and for q, see :mod:`.log_gradients`, and numbers in them."""

    p: Any
    q: Any
    scale_p: float = 1.0
    scale_q: float = 1.0
    parameter_p: float = 0.0
    parameter_q: float = 0.0
    mean: Callable[[Tensor], Tensor] = lambda value: value
    """H as a function of the value, except of kinds that sum over the row."""


def formula(divergence: Divergence) -> Formula | None:
    """The formula of a divergence, by its terms; None if there is none."""
    parameter = divergence.terms[0].parameter
    match tuple(term.name for term in divergence.terms):
        case ("kl",):
            return Formula(kinds.LINEAR, kinds.DIFFERENCE)
        case ("reverse_kl",):
            return Formula(kinds.DIFFERENCE, kinds.LINEAR)
        case ("jeffreys",):
            return Formula(kinds.BOTH, kinds.BOTH)
        case ("jensen_shannon",):
            rest = 1 - parameter
            return Formula(kinds.MIXTURE, kinds.MIXTURE, parameter, rest, rest, parameter)
        case ("total_variation",):
            return Formula(kinds.SIGN, kinds.SIGN)
        case ("overlap", "mass_of_p"):
            return Formula(kinds.SIGN, kinds.SIGN, -1.0, -1.0)
        case ("squared_hellinger",):
            is_root = divergence is HELLINGER.at()
            return _powers(0.5, -0.5, -0.5, lambda value: -value.square() if is_root else -value)
        case ("small_entropy", "small_share"):
            return Formula(kinds.ENTROPY, kinds.ZERO)
        case ("small_entropy", "small_share", "kl"):
            return Formula(kinds.CROSS_ENTROPY, kinds.DIFFERENCE)
        case ("chi_squared",):
            return _powers(2.0, 2.0, -1.0, lambda value: value)
        case ("alpha",):
            scale = parameter * (parameter - 1)
            return _powers(parameter, 1 / (parameter - 1), -1 / parameter, lambda value: scale * value)
        case ("alpha", "log_powers"):
            rate = parameter - 1
            return _powers(parameter, parameter / rate, -1.0, lambda value: rate * value, kinds.ESCORT)
    return None


def _powers(
    alpha: float, scale_p: float, scale_q: float, mean: Callable[[Tensor], Tensor], kind: Any = kinds.POWER
) -> Formula:
    return Formula(kind, kind, scale_p, scale_q, alpha - 1, -alpha, mean)


def has_gradients(divergence: Divergence, log_prob: tuple[bool, bool]) -> bool:
    """Whether the kernels know the gradients of a divergence."""
    known, order = formula(divergence), divergence.terms[0].parameter
    if known is None or divergence.terms[0].name != "alpha":
        return known is not None
    vanishes = all(log_prob) or not (0 < order < _SMOOTH or 0 < 1 - order < _SMOOTH)
    return abs(order) <= _LARGEST_ORDER and vanishes


def gradients(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool],
    temperature: float,
    divergence: Divergence,
    values: Tensor,
    log_masses: Tensor,
    grad_output: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """See :func:`torchdivergence._rows.reference.gradients`. ``log_masses`` must be those of this backend."""
    grad_p, grad_q = (torch.empty_like(x) if need else None for x, need in zip((p, q), needed, strict=True))
    if values.numel() and any(needed):
        zero_rows = (grad_output == 0) | (values == math.inf)
        outer = (grad_output / temperature * divergence.finalize_grad(values)).masked_fill(zero_rows, 0.0)
        known = formula(divergence)
        assert known is not None
        columns = known.mean(values), outer, log_masses
        with torch.cuda.device_of(p):
            _fill((p, q, grad_p, grad_q), columns, known, log_prob, temperature)
    return grad_p, grad_q


def _fill(
    tensors: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    columns: tuple[Tensor, Tensor, Tensor],
    *settings: Any,
) -> None:
    known, log_prob, temperature = settings
    p, q, *grads = tensors
    places = [x if grad is None else grad for x, grad in zip((p, q), grads, strict=True)]
    layout = row_layout(p, q, *places)
    if len(layout.sizes) > MAX_DIMS:
        for i in range(len(p)):
            grad_p, grad_q = (None if grad is None else grad[i] for grad in grads)
            _fill((p[i], q[i], grad_p, grad_q), (columns[0][i], columns[1][i], columns[2][:, i]), *settings)
        return
    rows, classes = math.prod(p.shape[:-1]), p.shape[-1]
    rate = 1 / temperature
    floats = map(as_float32, (rate, rate - as_float32(rate), math.log2(math.e) / temperature, *known[2:6]))
    kinds_wanted = [(kinds.ABSENT if grad is None else kind).value for kind, grad in zip(known[:2], grads, strict=True)]
    limits = [torch.finfo(x.dtype).max for x in places]
    flat = [x.reshape(-1) for x in columns]
    inputs = p, q, *places, *flat, rows, *layout.arguments, classes, *floats, *log_prob, temperature != 1
    sizes, options = program(classes)
    if "R" in sizes:
        short_gradients[(triton.cdiv(rows, sizes["R"]),)](*inputs, *kinds_wanted, *limits, *sizes.values(), **options)
    else:
        units = layout.units[:2]
        long_gradients[(rows,)](*inputs, *kinds_wanted, *limits, *units, *sizes.values(), **options)


def program(classes: int) -> tuple[dict[str, int], dict[str, int | bool]]:
    """The sizes that are compiled into the kernel for so many classes, and the options of its compilation."""
    if classes <= SHORT:
        return short_program(classes)
    return {"T": 128}, {"num_warps": 4, "enable_fp_fusion": False}
