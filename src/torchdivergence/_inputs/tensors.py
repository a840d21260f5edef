"""Checks of the tensors that a user passes, and the error texts.

Checked tensors come back as views with the classes last; nothing is copied. Values are inspected on the CPU only: on
another device that would make the caller wait.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._inputs.projected import Projected, Side
from torchdivergence._inputs.settings import Dim, Settings
from torchdivergence._inputs.weights import check_weights
from torchdivergence._tensor_kinds import FLOATS, has_values, is_dtensor

INTEGERS = torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8


class Rows(NamedTuple):
    """Checked rows: p and q are ``[*batch, classes]``, weights ``[*batch]`` in float64, or None."""

    p: Side
    q: Side
    weights: Tensor | None

    @property
    def items(self) -> int:
        """Size of the first batch dimension; 1 for a single row."""
        return self.p.shape[0] if self.p.ndim > 1 else 1


def check_rows(p: Side, q: Side, weights: Tensor | None, settings: Settings) -> Rows:
    """Views of p and q with the classes last, and of the weights expanded to the batch shape."""
    if isinstance(p, Tensor) and isinstance(q, Tensor) and not (p.is_nested or q.is_nested):
        _refuse_indices(p, q, settings.dim)
    for name, values, is_log in zip("pq", (p, q), settings.log_prob, strict=True):
        check_side(name, values, is_log)
    if p.shape != q.shape:
        raise ValueError(f"p and q must have the same shape, but p is {shape(p)} and q is {shape(q)}. {_hint(p, q)}")
    if p.device != q.device:
        raise ValueError(f"p and q must be on one device, but p is on {p.device} and q on {q.device}: q.to(p.device).")
    if is_dtensor(p) != is_dtensor(q):
        plain, placed = ("q", "p") if is_dtensor(p) else ("p", "q")
        raise ValueError(
            f"p and q must both be DTensors, but {plain} is none: use torch.distributed.tensor.distribute_tensor("
            f"{plain}, {placed}.device_mesh, {placed}.placements), or {placed}.full_tensor()."
        )
    given, p, q = p, classes_last(p, settings.dim), classes_last(q, settings.dim)
    if p.shape[-1] == 0:
        raise ValueError(
            f"p and q must have at least one class, but dimension {settings.dim} of {shape(given)} is empty."
        )
    return Rows(p, q, None if weights is None else check_weights(weights, p))


def classes_last(x: Side, dim: Dim) -> Side:
    """A view with the classes last; several class dimensions are joined, which may copy."""
    if dim == -1 and x.ndim:
        return x
    if isinstance(x, Projected):
        raise ValueError(f"the classes of hidden states that are projected are last: dim must be -1, but is {dim}.")
    dims = dim if isinstance(dim, tuple) else (dim,)
    for d in dims:
        if not -x.ndim <= d < x.ndim:
            raise IndexError(f"dim={dim} must be among the {x.ndim} dimensions of p, which is {shape(x)}.")
    if len({d % x.ndim for d in dims}) < len(dims) or not dims:
        raise IndexError(f"dim={dim} must name one or more dimensions, each once.")
    if dims not in ((-1,), (x.ndim - 1,)):
        x = x.movedim(dims, tuple(range(-len(dims), 0)))
    return x.flatten(-len(dims)) if len(dims) > 1 else x


def _hint(p: Side, q: Side) -> str:
    """How shapes that differ may be mended."""
    if p.ndim == q.ndim and p.shape[:-1] == q.shape[:-1]:
        return "If one of them has padding classes, slice them off, or give a DivergenceReport num_classes."
    for name, x, other_name, other in (("q", q, "p", p), ("p", p, "q", q)):
        if x.ndim <= other.ndim and all(a in (1, b) for a, b in zip(x.shape[::-1], other.shape[::-1], strict=False)):
            return f"If all rows share {name}, expand it: {name}.expand_as({other_name})."
    if p.ndim == q.ndim:
        different = [d for d, (a, b) in enumerate(zip(p.shape, q.shape, strict=True)) if a != b]
        return f"They differ in dimension {', '.join(map(str, different))}: cut both to the same rows."
    return "Reshape one of them, so that both have the same batch dimensions."


def _refuse_indices(p: Tensor, q: Tensor, dim: Dim) -> None:
    """Raise if p or q holds indices of classes; integers of the right shape are counts."""
    if p.shape == q.shape or isinstance(dim, tuple):
        return
    for name, x, name_of_other, other in (("p", p, "q", q), ("q", q, "p", p)):
        whole = x.dtype in INTEGERS and -other.dim() <= dim < other.dim() and other.shape[dim]
        if whole and x.shape == other.select(dim, 0).shape:
            raise ValueError(
                f"{name} must hold a distribution for each row, of the shape of {name_of_other}, {shape(other)}, but "
                f"holds integers of the shape {shape(x)}: if they are indices of classes, write "
                f"torch.nn.functional.one_hot({name}, {other.shape[dim]}) and log_prob=False for {name}."
            )


def clip_classes(p: Side, q: Side, num_classes: int | None) -> tuple[Side, Side]:
    """Views of the first ``num_classes`` classes."""
    if num_classes is None:
        return p, q
    for name, values in zip("pq", (p, q), strict=True):
        check_side(name, values, is_log=isinstance(values, Projected))
        if values.shape[-1] < num_classes:
            raise ValueError(
                f"there must be at least num_classes={num_classes} classes, but {name} is {shape(values)}."
            )
    return _first_classes(p, num_classes), _first_classes(q, num_classes)


def _first_classes(x: Side, num_classes: int) -> Side:
    return x.first_classes(num_classes) if isinstance(x, Projected) else x[..., :num_classes]


def check_target(target: Tensor, p: Side, ignore_index: int) -> None:
    """Raise unless target holds an index of a class, or ``ignore_index``, for each row of p (classes last)."""
    if not isinstance(target, Tensor) or target.is_floating_point() or target.dtype not in INTEGERS:
        found = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"target must be a tensor of integers, the index of a class for each row, but got {found}.")
    if target.shape != p.shape[:-1]:
        raise ValueError(
            f"target must have the batch shape {tuple(p.shape[:-1])} (that of p without its classes), but is "
            f"{shape(target)}. The target of a token is the next one: logits[:, :-1] go with ids[:, 1:]."
        )
    if target.device != p.device:
        raise ValueError(f"target must be on the device of p, {p.device}, but is on {target.device}.")
    if not has_values(target):
        return
    outside = ((target < 0) | (target >= p.shape[-1])) & (target != ignore_index)
    if outside.any():
        raise ValueError(
            f"each target must be a class, from 0 to {p.shape[-1] - 1}, or ignore_index={ignore_index}, but got "
            f"{int(target[outside][0])}."
        )


def check_side(name: str, values: Side, is_log: bool) -> None:
    """Raise unless p or q is a tensor of real numbers with a class dimension, or hidden states for logits."""
    if isinstance(values, Projected):
        if not is_log:
            raise ValueError(f"{name} is projected to logits, so that log_prob must be True for {name}, but is False.")
        return
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor, but got {type(values).__name__}: {_tensor_of(name, values)}.")
    if values.dtype in FLOATS and values.layout == torch.strided and values.ndim and not values.is_nested:
        return
    if values.is_nested:
        raise TypeError(
            f"{name} must be a dense tensor, but is nested: use {name}.values() of a jagged one (rows need no batch), "
            f"or torch.cat(list({name}.unbind()))."
        )
    if values.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, but its layout is {values.layout}: use {name}.to_dense().")
    if values.is_quantized:
        raise TypeError(f"{name} must hold floating point numbers, but is quantized: use {name}.dequantize().")
    if values.ndim == 0:
        raise ValueError(f"{name} must have a class dimension, but got a single number.")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(f"{name} must hold real numbers, but its dtype is {values.dtype}.")
    if values.is_floating_point() and values.dtype not in FLOATS:
        raise TypeError(f"{name} has the dtype {values.dtype}, which has no arithmetic: use {name}.float().")
    if is_log and not values.is_floating_point():
        raise TypeError(
            f"{name} was passed as logits or log-probabilities (log_prob=True) and must be floating point, but its "
            f"dtype is {values.dtype}. For counts or probabilities pass log_prob=False."
        )


def _tensor_of(name: str, value: object) -> str:
    """How to get a tensor from what was passed."""
    if value is None:
        return f"{name} is missing"
    if isinstance(value, bool):
        return "the second argument is q; write log_prob=True"
    if isinstance(value, Mapping):
        return f'use the tensor in it, such as {name}["logits"]'
    if hasattr(value, "logits"):
        return f"use {name}.logits"
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return f"use the tensor in it, such as {name}[0]"
    if isinstance(value, list) and value and all(isinstance(x, Tensor) for x in value):
        return f"use torch.stack({name}) for tensors of equal shape, or torch.cat({name})"
    return f"use torch.as_tensor({name})"


def shape(values: Side) -> str:
    """The shape as a tuple."""
    return str(tuple(values.shape))
