"""Checks of the tensors that a user passes, and the error texts.

Checked tensors come back as views with the classes last; nothing is copied. Values are inspected on the CPU only: on
another device that would make the caller wait.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._inputs.settings import Settings

_INTEGERS = torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8


class Rows(NamedTuple):
    """Checked rows: p and q are ``[*batch, classes]``, weights ``[*batch]`` in float64, or None."""

    p: Tensor
    q: Tensor
    weights: Tensor | None

    @property
    def items(self) -> int:
        """Size of the first batch dimension; 1 for a single row."""
        return self.p.shape[0] if self.p.ndim > 1 else 1


def check_rows(p: Tensor, q: Tensor, weights: Tensor | None, settings: Settings) -> Rows:
    """Views of p and q with the classes last, and of the weights expanded to the batch shape."""
    _refuse_indices(p, q, settings.dim)
    for name, values, is_log in zip("pq", (p, q), settings.log_prob, strict=True):
        _check_dtype(name, values, is_log)
    if p.shape != q.shape:
        raise ValueError(
            f"p and q must have the same shape, but p is {_shape(p)} and q is {_shape(q)}. If one of them has "
            "padding classes, slice them off, or give a DivergenceReport num_classes; if one of them is shared by all "
            "rows, expand it: q.expand_as(p)."
        )
    if p.device != q.device:
        raise ValueError(f"p and q must be on one device, but p is on {p.device} and q on {q.device}.")
    dim = settings.dim
    if not -p.ndim <= dim < p.ndim:
        raise IndexError(f"dim={dim} must be one of the {p.ndim} dimensions of p, which is {_shape(p)}.")
    if p.shape[dim] == 0:
        raise ValueError(f"p and q must have at least one class, but dimension {dim} of {_shape(p)} is empty.")
    if dim not in (-1, p.ndim - 1):
        p, q = p.movedim(dim, -1), q.movedim(dim, -1)
    return Rows(p, q, None if weights is None else _check_weights(weights, p))


def _refuse_indices(p: Tensor, q: Tensor, dim: int) -> None:
    """Raise if p or q holds indices of classes; integers of the right shape are counts."""
    if not isinstance(p, Tensor) or not isinstance(q, Tensor) or p.shape == q.shape:
        return
    for name, x, name_of_other, other in (("p", p, "q", q), ("q", q, "p", p)):
        whole = x.dtype in _INTEGERS and -other.dim() <= dim < other.dim() and other.shape[dim]
        if whole and x.shape == other.select(dim, 0).shape:
            raise ValueError(
                f"{name} must hold a distribution for each row, of the shape of {name_of_other}, {_shape(other)}, but "
                f"holds integers of the shape {_shape(x)}: if they are indices of classes, write "
                f"torch.nn.functional.one_hot({name}, {other.shape[dim]}) and log_prob=False for {name}."
            )


def clip_classes(p: Tensor, q: Tensor, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Views of the first ``num_classes`` classes."""
    if num_classes is None:
        return p, q
    for name, values in zip("pq", (p, q), strict=True):
        _check_dtype(name, values, is_log=False)
        if values.shape[-1] < num_classes:
            raise ValueError(
                f"there must be at least num_classes={num_classes} classes, but {name} is {_shape(values)}."
            )
    return p[..., :num_classes], q[..., :num_classes]


def check_target(target: Tensor, p: Tensor, ignore_index: int) -> None:
    """Raise unless target holds an index of a class, or ``ignore_index``, for each row of p (classes last)."""
    if (
        not isinstance(target, Tensor)
        or target.is_floating_point()
        or target.is_complex()
        or target.dtype == torch.bool
    ):
        found = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"target must be a tensor of integers, the index of a class for each row, but got {found}.")
    if target.shape != p.shape[:-1]:
        raise ValueError(
            f"target must have the batch shape {tuple(p.shape[:-1])} (that of p without its classes), but is "
            f"{_shape(target)}. The target of a token is the next one: logits[:, :-1] go with ids[:, 1:]."
        )
    if target.device != p.device:
        raise ValueError(f"target must be on the device of p, {p.device}, but is on {target.device}.")
    outside = ((target < 0) | (target >= p.shape[-1])) & (target != ignore_index)
    if target.device.type == "cpu" and outside.any():
        raise ValueError(
            f"each target must be a class, from 0 to {p.shape[-1] - 1}, or ignore_index={ignore_index}, but got "
            f"{int(target[outside][0])}."
        )


def _check_dtype(name: str, values: Tensor, is_log: bool) -> None:
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor, but got {type(values).__name__}: use torch.as_tensor({name}).")
    if values.ndim == 0:
        raise ValueError(f"{name} must have a class dimension, but got a single number.")
    if values.layout != torch.strided or values.is_nested:
        raise TypeError(f"{name} must be a dense tensor, but its layout is {values.layout}: use {name}.to_dense().")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(f"{name} must hold real numbers, but its dtype is {values.dtype}.")
    if is_log and not values.is_floating_point():
        raise TypeError(
            f"{name} was passed as logits or log-probabilities (log_prob=True) and must be floating point, but its "
            f"dtype is {values.dtype}. For counts or probabilities pass log_prob=False."
        )


def _check_weights(weights: Tensor, p: Tensor) -> Tensor:
    """The weights in float64, expanded to the batch shape of p (whose classes are last)."""
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights must be a tensor, but got {type(weights).__name__}: use torch.as_tensor(weights).")
    if weights.is_complex():
        raise TypeError(f"weights must be bool, integer or floating point, but their dtype is {weights.dtype}.")
    if weights.device != p.device:
        raise ValueError(f"weights must be on the device of p, {p.device}, but are on {weights.device}.")
    batch = p.shape[:-1]
    values = weights.detach().to(torch.float64)
    try:
        expanded = values.expand(batch)
    except RuntimeError:
        raise ValueError(
            f"weights must broadcast to the batch shape {tuple(batch)} (that of p without its class dimension), "
            f"but are {_shape(weights)}. Weights of the items of a batch need a dimension more: weights[:, None]."
        ) from None
    if weights.dtype == torch.bool:
        return expanded
    valid = (values >= 0) & (values < math.inf)
    if weights.device.type != "cpu":
        return expanded.masked_fill(~valid, math.nan)  # such a row is invalid, as compute() will tell
    if not valid.all():
        worst, number = values[~valid][0].item(), int((~valid).sum())
        raise ValueError(
            f"weights must be finite and not negative, but {number} of them are not, for example {worst}: use weight 0 "
            "for rows that are to be ignored."
        )
    return expanded


def _shape(values: Tensor) -> str:
    return str(tuple(values.shape))
