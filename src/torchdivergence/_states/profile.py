"""Means by the place in a sequence, four to an octave, from exact sums. It does not know what they are of."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._states import superaccumulator as _accumulators
from torchdivergence._states.superaccumulator import BANK

_OCTAVES = 24  # places past 2**24 count with the last
_PARTS = 4
_BANKS = _OCTAVES * _PARTS
SIZE = 2 * _BANKS * BANK


class Stretch(NamedTuple):
    """The mean over some places in a row, counted from 0: ``first`` to ``last``."""

    first: int
    last: int
    mean: float


def add_(state: Tensor, numbers: Tensor, weights: Tensor) -> None:
    """Write numbers and weights >= 0, float64 ``[*batch, places]``, into a state, ``[SIZE]``."""
    if not numbers.numel():
        return
    banks = state.view(_BANKS, 2, BANK)
    both = torch.stack([_accumulators.weigh(numbers, weights), weights]).reshape(2, -1, numbers.shape[-1])
    first = 0
    while first < numbers.shape[-1]:
        stretch = _stretch(first)
        end = _ends(stretch)
        _accumulators.add_(banks[stretch], both[..., first:end].reshape(2, -1))
        first = end


def read(state: Tensor) -> list[Stretch]:
    """The means, where there are any."""
    found = []
    first = 0
    for stretch, (numbers, weights) in enumerate(state.view(_BANKS, 2, BANK).unbind()):
        end = _ends(stretch)
        if end > first:
            value, weight = _accumulators.read(numbers), _accumulators.read(weights)
            if weight.units:
                found.append(Stretch(first, end - 1, value.value / weight.value))
        first = max(first, end)
    return found


def _stretch(place: int) -> int:
    """Which stretch a place is in: by its number from 1 on, the exponent and two more bits."""
    mantissa, exponent = math.frexp(place + 1)
    return min((exponent - 1) * _PARTS + int((2 * mantissa - 1) * _PARTS), _BANKS - 1)


def _ends(stretch: int) -> int:
    """The first place after a stretch; the last one has no end."""
    octave, part = divmod(stretch + 1, _PARTS)
    return math.ceil(2**octave * (1 + part / _PARTS)) - 1 if stretch < _BANKS - 1 else 1 << 62
