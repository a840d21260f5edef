"""Checks of the weights of rows."""

import math

import torch
from torch import Tensor

from torchdivergence._inputs.projected import Side
from torchdivergence._tensor_kinds import cannot_be_saved, has_values, is_dtensor


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
    valid = (values >= 0) & (values < math.inf)
    if not has_values(weights):
        return expanded.masked_fill(~valid, math.nan)  # the row is invalid, which compute() handles
    if not valid.all():
        worst, number = values[~valid][0].item(), int((~valid).sum())
        raise ValueError(
            f"weights must be finite and not negative, but {number} of them are not, for example {worst}: use weight 0 "
            "for rows that are to be ignored."
        )
    return expanded


def _weights_hint(weights: Tensor, p: Side) -> str:
    """How weights that do not broadcast may be mended."""
    if weights.ndim == p.ndim and weights.shape[-1] == 1:
        return "They have a dimension for the classes, which weights of rows lack: weights.squeeze(-1)."
    if weights.ndim < p.ndim - 1 and weights.shape == p.shape[: weights.ndim]:
        index = [":"] * weights.ndim + ["None"] * (p.ndim - 1 - weights.ndim)
        return f"Weights of items need a dimension for each other batch dimension: weights[{', '.join(index)}]."
    return "A weight belongs to a row, not to a class."
