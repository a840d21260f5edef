"""Checks of the weights of rows."""

import math

import torch
from torch import Tensor
from torch.nn.functional import threshold

from torchdivergence._inputs.projected import Side
from torchdivergence._tensor_kinds import PLAIN_TYPES, cannot_be_saved, has_values, is_dtensor, no_modes

_LEAST = 5e-324
"""The smallest positive number."""


def check_weights(weights: Tensor, p: Side) -> Tensor:
    """The weights in float64, expanded to the batch shape of p (whose classes are last)."""
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights must be a tensor, but got {type(weights).__name__}: use torch.as_tensor(weights).")
    if weights.is_complex():
        raise TypeError(f"weights must be bool, integer or floating point, but their dtype is {weights.dtype}.")
    if weights.layout != torch.strided or weights.is_nested:
        raise TypeError("weights must be a dense tensor: use weights.to_dense().")
    if is_dtensor(weights) != is_dtensor(p):
        raise ValueError(
            "weights and p must both be DTensors, or none of them: use torch.distributed.tensor.distribute_tensor("
            "weights, p.device_mesh, placements), or weights.full_tensor()."
        )
    if weights.device != p.device:
        raise ValueError(f"weights must be on the device of p, {p.device}, but are on {weights.device}.")
    values = weights.to(torch.float64)
    if cannot_be_saved(values):
        values = values.clone()
    try:
        expanded = values.expand(p.shape[:-1])
    except RuntimeError:
        raise ValueError(
            f"weights must broadcast to the batch shape {tuple(p.shape[:-1])} (the shape of p without its class "
            f"dimension), but are {tuple(weights.shape)}. {_weights_hint(weights, p)}"
        ) from None
    if weights.dtype == torch.bool:
        return expanded
    if not has_values(weights):
        return _nan_if_invalid(values).expand(p.shape[:-1])  # the row is invalid, which compute() handles
    valid = (values >= 0) & (values < math.inf)
    if not valid.all():
        worst, number = values[~valid][0].item(), int((~valid).sum())
        raise ValueError(
            f"weights must be finite and not negative, but {number} of them are not, for example {worst}: use weight 0 "
            "for rows that are to be ignored."
        )
    return expanded


def _nan_if_invalid(values: Tensor) -> Tensor:
    if values.is_cuda and type(values) in PLAIN_TYPES and no_modes():  # the same by fewer launches
        return threshold(values, -_LEAST, math.nan).nan_to_num(math.nan, math.nan, math.nan)
    return values.masked_fill(~((values >= 0) & (values < math.inf)), math.nan)


def _weights_hint(weights: Tensor, p: Side) -> str:
    """How weights that do not broadcast may be mended."""
    if weights.ndim == p.ndim and weights.shape[-1] == 1:
        return "They have a dimension for the classes, which weights of rows lack: weights.squeeze(-1)."
    if weights.ndim < p.ndim - 1 and weights.shape == p.shape[: weights.ndim]:
        index = [":"] * weights.ndim + ["None"] * (p.ndim - 1 - weights.ndim)
        return f"Weights of items need a dimension for each other batch dimension: weights[{', '.join(index)}]."
    return "A weight belongs to a row, not to a class."
