"""Numbers that a program adds to superaccumulators, and the kernel that adds them to several.

Many programs write to the same limbs by atomic additions. Integers commute, so the order does not matter. A program
first sums what goes to the same limb, if its numbers need no more than eight limbs.
"""

import triton
import triton.language as tl

from torchdivergence._layout import LIMB_BITS, LIMBS, WIDTH

_LIMB_BITS = tl.constexpr(LIMB_BITS)
_LIMBS = tl.constexpr(LIMBS)
_WIDTH = tl.constexpr(WIDTH)
_LIMB_MASK = tl.constexpr((1 << LIMB_BITS) - 1)
_MANTISSA_BITS = tl.constexpr(52)
_MANTISSA_MASK = tl.constexpr((1 << 52) - 1)
_SIZE_MASK = tl.constexpr((1 << 63) - 1)  # of the bits of a float64: all but the sign
_INF_BITS = tl.constexpr(0x7FF << 52)


@triton.jit
def add_integer(address, x):
    """Add an integer of this program."""
    tl.atomic_add(address, x, mask=x != 0, sem="relaxed")


@triton.jit
def add_numbers(accumulator, x, on):
    """Add float64 numbers, where they are on, to an accumulator: the absolute value of each, which may be NaN."""
    bits = x.to(tl.int64, bitcast=True) & _SIZE_MASK
    finite = on & (bits < _INF_BITS)
    normal = ((bits >> _MANTISSA_BITS) > 0).to(tl.int64)
    mantissa = tl.where(finite, (bits & _MANTISSA_MASK) + (normal << _MANTISSA_BITS), 0)
    exponent = tl.where(finite, (bits >> _MANTISSA_BITS) - normal, 0).to(tl.int32)
    limb = exponent // _LIMB_BITS
    shift = (exponent - limb * _LIMB_BITS).to(tl.int64)
    low = (mantissa << shift) & _LIMB_MASK
    middle = (mantissa >> (-shift + _LIMB_BITS)) & _LIMB_MASK
    high = mantissa >> (-shift + 2 * _LIMB_BITS)
    first = tl.min(tl.where(mantissa != 0, limb, _LIMBS), 0)
    last = tl.max(tl.where(mantissa != 0, limb, -1), 0)
    if last - first <= 5:
        at = first + tl.arange(0, 8)
        place = limb[None, :] - at[:, None]
        sums = tl.where(place == 0, low[None, :], 0) + tl.where(place == -1, middle[None, :], 0)
        sums = tl.sum(sums + tl.where(place == -2, high[None, :], 0), 1)
        tl.atomic_add(accumulator + at, sums, mask=sums != 0, sem="relaxed")
    else:
        tl.atomic_add(accumulator + limb, low, mask=low != 0, sem="relaxed")
        tl.atomic_add(accumulator + limb + 1, middle, mask=middle != 0, sem="relaxed")
        tl.atomic_add(accumulator + limb + 2, high, mask=high != 0, sem="relaxed")
    kind = (bits >= _INF_BITS).to(tl.int64) + (bits > _INF_BITS).to(tl.int64)
    packed = tl.sum(on.to(tl.int64) << (kind * 20), 0)  # a program has fewer than 2**20 numbers
    which = tl.arange(0, 4)
    count = (packed >> (which.to(tl.int64) * 20)) & ((1 << 20) - 1)
    tl.atomic_add(accumulator + _LIMBS + which, count, mask=(which < 3) & (count != 0), sem="relaxed")


@triton.jit(do_not_specialize=["numbers"])
def accumulate(accumulators, values, numbers, B: tl.constexpr):
    """Add ``values[n, numbers]`` to ``accumulators[n, WIDTH]``: a program takes B numbers of one accumulator."""
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    x = tl.load(values + row * numbers + place, mask=place < numbers, other=0.0)
    add_numbers(accumulators + row * _WIDTH, x, place < numbers)
