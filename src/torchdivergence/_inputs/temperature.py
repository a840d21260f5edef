"""A temperature that is a tensor, with its derivatives."""

import torch
from torch import Tensor

from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import LogProb, check_log_prob
from torchdivergence._inputs.tensors import check_side, shape
from torchdivergence._tensor_kinds import cannot_be_saved, has_values, in_dual_level


def apply_temperature(p: Side, q: Side, temperature: Tensor, log_prob: LogProb) -> tuple[Side, Side, float]:
    """Logits and a number that have the value and the derivatives of a tensor temperature.

    Raises:
        ValueError: The temperature has several elements, is on another device, or p or q is not passed as logits.
    """
    if temperature.numel() != 1:
        raise ValueError(f"temperature must be a single number, but is a tensor of shape {shape(temperature)}.")
    known = has_values(temperature)
    if known and not temperature.requires_grad and not in_dual_level():
        return p, q, float(temperature)
    if not (isinstance(p, Tensor) and isinstance(q, Tensor)):
        raise ValueError("temperature must be a number, not a tensor, for hidden states: let their head divide by it.")
    flags = check_log_prob(log_prob)
    for name, x, is_log in zip("pq", (p, q), flags, strict=True):
        check_side(name, x, is_log)
        if not is_log:
            raise ValueError(f"a temperature divides logits, but log_prob={log_prob!r}: {name} is none.")
        if x.device != temperature.device:
            raise ValueError(
                f"temperature must be on the device of {name}, {x.device}, but is on {temperature.device}."
            )
    temperature = temperature.reshape(()).double()
    if not known:
        return _scaled(p, 1 / temperature), _scaled(q, 1 / temperature), 1.0
    number = float(temperature.detach())
    unit = number / temperature  # exactly 1, with the derivatives of number / temperature
    return _scaled(p, unit), _scaled(q, unit), number


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    """Logits times a factor. Infinite and invalid ones stay as they are and have no derivatives."""
    x = x.clone().double() if cannot_be_saved(x) else x.double()
    finite = x.isfinite()
    return torch.where(finite, x.masked_fill(~finite, 0.0) * factor, x)
