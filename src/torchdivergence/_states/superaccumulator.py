"""Superaccumulators: exact sums of non-negative float64 numbers, as integers.

A non-negative float64 is an integer multiple of 2**-1074. An accumulator holds the sum of such integers in limbs of 26
bits, each in an int64 of its own; carries are deferred until the sum is read (R. M. Neal, "Fast exact summation using
small and large superaccumulators", arXiv:1505.05571). Integer addition is associative. So the state has the same bits
for every order and split of the numbers, accumulators merge by ``+``, and the sum that is read is rounded once, as by
:func:`math.fsum`.

A number adds less than 2**26 to a limb, so int64 has room for 2**37 (1.4e11) numbers of any size.
"""

import math
import struct
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._layout import LIMB_BITS, LIMBS, WIDTH
from torchdivergence._states.kernels import kernels_for

_MASK = (1 << LIMB_BITS) - 1
_MANTISSA_BITS = 52
_INF = 0x7FF << _MANTISSA_BITS  # bits of +inf; those of NaN are larger
_UNIT = 1 << 1074
_CAPACITY = 1 << 63 - LIMB_BITS
_TILE = 1 << 16  # numbers accumulated at a time: bounds the memory of the temporaries


class Sum(NamedTuple):
    """The contents of an accumulator."""

    units: int
    """Sum of the finite numbers, in units of 2**-1074."""
    finite: int
    infinite: int
    invalid: int
    """How many numbers were finite, infinite and NaN."""

    @property
    def exact(self) -> Fraction:
        """Sum of the finite numbers."""
        return Fraction(self.units, _UNIT)

    @property
    def value(self) -> float:
        """The float64 nearest to the sum of all numbers that are not NaN; ``inf`` past the largest."""
        return math.inf if self.infinite else round_to_float(self.units)


def round_to_float(units: int) -> float:
    """The float64 nearest to an integer multiple of 2**-1074; ``inf`` past the largest."""
    if 0 <= units < 2 << _MANTISSA_BITS:  # exact, and the bits of the float64: no arithmetic can flush it to 0
        return float(struct.unpack("<d", struct.pack("<q", units))[0])
    try:
        return units / _UNIT  # division of integers is correctly rounded
    except OverflowError:
        return math.inf


def units_of(number: int) -> int:
    """An integer in units of 2**-1074."""
    return number * _UNIT


def zeros() -> Tensor:
    """An empty accumulator."""
    return torch.zeros(WIDTH, dtype=torch.int64, device="cpu")


def accumulate_(accumulators: Tensor, values: Tensor) -> None:
    """Add numbers to accumulators, in place.

    Args:
        accumulators: ``[n, WIDTH]`` in int64, contiguous.
        values: ``[n, numbers]`` in float64: each >= 0 or NaN.
    """
    if kernels := kernels_for(accumulators, values):
        kernels.accumulate(accumulators, values)
    else:
        for tile in torch.split(values, _TILE, dim=1):
            _accumulate_tile_(accumulators, tile)


def _accumulate_tile_(accumulators: Tensor, values: Tensor) -> None:
    bits = values.abs().view(torch.int64)  # abs: a NaN may carry a sign
    special = (bits >= _INF).long()
    normal = (bits >> _MANTISSA_BITS > 0).long()
    mantissa = ((bits & (1 << _MANTISSA_BITS) - 1) + (normal << _MANTISSA_BITS)) * (1 - special)
    exponent = ((bits >> _MANTISSA_BITS) - normal) * (1 - special)
    limb, shift = exponent // LIMB_BITS, exponent % LIMB_BITS
    parts = (
        (mantissa << shift) & _MASK,
        (mantissa >> LIMB_BITS - shift) & _MASK,
        mantissa >> 2 * LIMB_BITS - shift,
    )
    places = torch.stack([limb, limb + 1, limb + 2, LIMBS + special + (bits > _INF)], dim=1)
    amounts = torch.stack([*parts, torch.ones_like(bits)], dim=1)
    accumulators.scatter_add_(1, places.flatten(1), amounts.flatten(1))


def read(accumulator: Tensor) -> Sum:
    """The contents of an accumulator, ``[WIDTH]``. This waits for the device.

    Raises:
        OverflowError: More numbers were accumulated than there is room for.
    """
    *limbs, finite, infinite, invalid = accumulator.tolist()
    if not 0 <= finite + infinite + invalid <= _CAPACITY:
        raise OverflowError(
            f"a sum has room for {_CAPACITY:,} numbers, and more were added: its value is lost. Reset the metric "
            "sooner."
        )
    units = sum(limb << LIMB_BITS * place for place, limb in enumerate(limbs) if limb)
    return Sum(units, finite, infinite, invalid)
