"""States from elsewhere, such as checkpoints: whether they can be a metric's own."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from torchdivergence._states.part import FORMAT, Part


def other_format(name: str, names: Iterable[str]) -> str:
    """What is wrong if one of some names is that of the same state in another format; else an empty string."""
    before, after = name.split(f"_format{FORMAT}", 1)
    pattern = re.compile(re.escape(before) + r"(_format(\d+))?" + re.escape(after))
    for other in names:
        if match := pattern.fullmatch(other):
            return f"{other!r} has format {match[2] or 1}, and this version of torchdivergence reads {FORMAT}"
    return ""


def state_mismatch(part: Part[Any] | None, state: object) -> str:
    """What is wrong if a state cannot be that of a part, or without one a list; else an empty string."""
    if part is None:
        parts = [state] if isinstance(state, Tensor) else state
        fits = isinstance(parts, list) and all(isinstance(x, Tensor) and x.dtype == torch.int64 for x in parts)
        return "" if fits else f"it is not a list of int64 tensors: {type(state).__name__}"
    if isinstance(state, Tensor) and state.dtype == torch.int64 and state.ndim == 1 and part.fits(len(state)):
        return ""
    found = f"{tuple(state.shape)} in {state.dtype}" if isinstance(state, Tensor) else type(state).__name__
    return f"it should be ({part.length},) in {torch.int64} and is {found}"
