"""The bins of a histogram of non-negative float64 numbers: fine ones where most values are, coarse ones outside.

====================================  ===============  ================
Numbers                               Bins per octave  Relative error
====================================  ===============  ================
0                                     exact            0
(0, 2**-167)                          one bin          reads as 0
[2**-167, 2**-40) and [2**8, 2**136)  32               2**-6 (1.6 %)
[2**-40, 2**8)                        512              2**-10 (0.1 %)
[2**136, inf)                         one bin          reads as 2**136
inf                                   exact            0
====================================  ===============  ================

The error is that of the number that stands for a bin, the harmonic mean of its edges. The leading bits of a float64,
read as an integer, count its octave and the parts of the octave. So the bin follows from shifts and limits.
"""

from functools import cache

import torch
from torch import Tensor

from torchdivergence._layout import BINS, COARSE_BITS, FINE_BITS, OCTAVES

_MANTISSA_BITS, _BIAS = 52, 1023  # of a float64
_COARSE_SHIFT, _FINE_SHIFT = _MANTISSA_BITS - COARSE_BITS, _MANTISSA_BITS - FINE_BITS
_RATIO = 1 << FINE_BITS - COARSE_BITS  # fine bins in a coarse one
_INF = 0x7FF << _MANTISSA_BITS
# The leading bits of the limits, in coarse bins. The bin before the first one and the last one have all other numbers.
_START, _LOW, _HIGH, _LAST = ((_BIAS + octave) << COARSE_BITS for octave in OCTAVES)
_FIRST = _START - 1
_FINE_BINS = _RATIO * (_HIGH - _LOW)


def bin_of(bits: Tensor) -> Tensor:
    """The bin of each number, from the bits of non-negative float64 numbers in int64."""
    coarse, fine = bits >> _COARSE_SHIFT, bits >> _FINE_SHIFT
    extra = fine.clamp(_RATIO * _LOW, _RATIO * _HIGH) - coarse.clamp(_LOW, _HIGH) - (_RATIO - 1) * _LOW
    return coarse.clamp(_FIRST, _LAST) - _FIRST + extra + (bits > 0) + (bits >= _INF)


@cache
def edges() -> Tensor:
    """Lower edge of each bin, and the upper edge of the last: float64 ``[BINS + 1]``."""
    place, low = torch.arange(-1, BINS, device="cpu"), _LOW - _FIRST
    high = low + _FINE_BINS
    coarse = place.clamp(max=low) + (place - high).clamp(min=0) + _FIRST
    lower = ((_RATIO * coarse + place.clamp(low, high) - low) << _FINE_SHIFT).view(torch.float64)
    lower[:2], lower[-2:] = 0.0, torch.inf
    return lower
