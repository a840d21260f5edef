"""Rounded versions of a model, by name: "logits", "bfloat16", "int8", "int4", and with groups "int8/32"."""

import copy
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from torchdivergence._command.errors import CommandError
from torchdivergence._command.sources import LogitsSource, ModelSource, Source

INT4_GROUP = 32
"""Number of int4 weights along a row that share a scale, if none is given."""
ALL = ("logits", "bfloat16", "int8", "int4")
LOGITS, BFLOAT16 = "logits rounded to bfloat16", "all in bfloat16"


class Rounding(NamedTuple):
    """What a rounded version is called, and how it is made."""

    label: str
    make: Callable[[ModelSource], Source]


def rounding(name: str) -> Rounding:
    """By its name on the command line."""
    if name == "logits":
        return Rounding(LOGITS, lambda p: LogitsSource(Tensor.bfloat16, p))
    if name == "bfloat16":
        return Rounding(BFLOAT16, lambda p: ModelSource(to_bfloat16(p.model), p.first_token))
    found = re.fullmatch(r"int([48])(?:/([1-9]\d*))?", name)
    if found is None:
        raise ValueError(f"{name!r} must be logits, bfloat16, int8 or int4, or with a group int8/GROUP or int4/GROUP.")
    bits, given = int(found[1]), found[2]
    group = int(given) if given else INT4_GROUP if bits == 4 else None
    label = f"int{bits} weights" + (f", groups of {given}" if given else "")
    return Rounding(label, lambda p: ModelSource(round_weights(p.model, bits, group), p.first_token))


def to_bfloat16(reference: Any) -> Any:
    """The reference computing in bfloat16."""
    model = copy.deepcopy(reference)
    for parameter in model.parameters():  # and not buffers, as if loaded so: rotary frequencies stay in float32
        parameter.data = parameter.data.bfloat16()
    return model


def round_weights(reference: Any, bits: int, group: int | None = None) -> Any:
    """The reference with the weights of its linear layers rounded, each row or each group in it to a scale of its own.

    The output layer stays as it is: it is often the embedding too.
    """
    model = copy.deepcopy(reference)
    output = model.get_output_embeddings()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not output]
    if not layers:
        raise CommandError("there must be layers of torch.nn.Linear to round, but the model has none.")
    for layer in layers:
        parts = torch.split(layer.weight.data.float(), group or layer.in_features, dim=1)
        rounded = torch.cat([round_rows(part, 2 ** (bits - 1) - 1) for part in parts], dim=1)
        layer.weight.data = rounded.to(layer.weight.dtype)
    return model


def round_rows(weight: Tensor, largest: int) -> Tensor:
    """Round each row to integers from -largest to largest times a scale."""
    scale = weight.abs().amax(dim=1, keepdim=True) / largest
    return torch.where(scale > 0, (weight / scale).round() * scale, 0.0)
