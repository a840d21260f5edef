"""States from elsewhere, such as checkpoints: whether they can be a metric's own."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from torchdivergence._states.part import FORMAT


def other_format(name: str, names: Iterable[str]) -> str:
    """What is wrong if one of some names is that of the same state in another format; else an empty string."""
    before, after = name.split(f"_format{FORMAT}", 1)
    pattern = re.compile(re.escape(before) + r"(_format(\d+))?" + re.escape(after))
    for other in names:
        if match := pattern.fullmatch(other):
            return f"{other!r} has format {match[2] or 1}, and this version of torchdivergence reads {FORMAT}"
    return ""


def state_mismatch(default: Tensor | list[Tensor], state: object) -> str:
    """What is wrong if a state cannot take the place of a default; else an empty string."""
    if isinstance(default, list):
        parts = [state] if isinstance(state, Tensor) else state
        fits = isinstance(parts, list) and all(isinstance(x, Tensor) and x.dtype == torch.int64 for x in parts)
        return "" if fits else f"it is not a list of int64 tensors: {type(state).__name__}"
    if not isinstance(state, Tensor) or (state.shape, state.dtype) != (default.shape, default.dtype):
        found = f"{tuple(state.shape)} in {state.dtype}" if isinstance(state, Tensor) else type(state).__name__
        return f"it should be {tuple(default.shape)} in {default.dtype} and is {found}"
    return ""
