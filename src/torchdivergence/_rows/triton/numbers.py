"""Arithmetic of the kernels: sums in a fixed order, and float32 functions to their last digits.

Compilers get no licence to fuse or to reorder: every fused multiply-add is named, so that a row has the same bits
whatever else a kernel computes.
"""

import triton
import triton.language as tl

INF = tl.constexpr(float("inf"))
LN2 = tl.constexpr(0.6931471805599453)
LOG2E = tl.constexpr(1.4426950408889634)
_LN2_HIGH = tl.constexpr(0.693145751953125)  # 17 bits: its products with exponents are exact
_LN2_LOW = tl.constexpr(1.42860677e-06)
_HALF_ROOT = tl.constexpr(0x3F3504F3)  # the bits of sqrt(1/2)


@triton.jit
def widen(x):
    """A number that was passed to a kernel, in float64."""
    return tl.full((), 0.0, tl.float64) + x


@triton.jit
def two_floats(x):
    """A number in float64 as the sum of two in float32."""
    high = x.to(tl.float32)
    return high, (x - high.to(tl.float64)).to(tl.float32)


@triton.jit
def two_sum(x, y):
    """The rounded sum, and its rounding error (Knuth)."""
    s = x + y
    back = s - x
    return s, (x - (s - back)) + (y - back)


@triton.jit
def accumulate(high, low, x):
    """Add x to a sum in two floats, for sums that do not shrink (Dekker)."""
    s = high + x
    return s, low + (x - (s - high))


@triton.jit
def add_eights(x):
    """The sums of eight neighbors each, pairwise: of [n, 8] numbers, [n]."""
    a, b = tl.split(tl.reshape(x, [x.shape[0], 4, 2]))
    a, b = tl.split(tl.reshape(a + b, [x.shape[0], 2, 2]))
    a, b = tl.split(a + b)
    return a + b


@triton.jit
def power_of_two(exponent):
    """2 to the power of an int32, in float64."""
    return (exponent.to(tl.int64) + 1023 << 52).to(tl.float64, bitcast=True)


@triton.jit
def add_lanes(high, low):
    """The sum of all lanes in float64, as integers: in any order. Infinite if a lane is no finite number."""
    size = tl.abs(high)
    top = tl.max(tl.where(size < INF, size, INF), 0)
    exponent = (top.to(tl.int32, bitcast=True) >> 23) - 126  # top < 2 ** exponent
    lanes = (high.to(tl.float64) + low.to(tl.float64)) * power_of_two(52 - exponent)
    total = tl.sum(lanes.to(tl.int64), 0).to(tl.float64) * power_of_two(exponent - 52)
    return tl.where(top < INF, total, top.to(tl.float64))


@triton.jit
def log(x):
    """The logarithm of a positive number in two floats, together accurate to 5e-10."""
    tiny = x < 1.1754943508222875e-38
    bits = tl.where(tiny, x * 4294967296.0, x).to(tl.int32, bitcast=True)
    exponent = bits - _HALF_ROOT >> 23
    f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1  # between sqrt(1/2) - 1 and sqrt(2) - 1
    n = exponent.to(tl.float32) - tl.where(tiny, 32.0, 0.0)
    d = 2 + f
    s = f / d
    rest = (tl.fma(-s, d, f) - s * (f - (d - 2))) / d  # s + rest = f / (2 + f)
    z = s * s
    series = tl.fma(z, 0.18181818, 0.22222222)
    series = tl.fma(z, series, 0.2857143)
    series = tl.fma(z, series, 0.4)
    series = tl.fma(z, series, 0.6666667)
    high, low = two_sum(n * _LN2_HIGH, 2 * s)
    low += tl.fma(n, _LN2_LOW, tl.fma(s * z, series, 2 * rest))
    total = high + low
    return total, low - (total - high)


@triton.jit
def log1p(x):
    """log(1 + x) in float32."""
    u = 1 + x
    high, low = log(u)
    return high + (low + (x - (u - 1)) / u)


@triton.jit
def log_excess(x):
    """The number x - log(1 + x) in float32, without cancellation."""
    s = x / (2 + x)
    z = s * s
    series = tl.fma(z, 0.18181818, 0.22222222)
    series = tl.fma(z, series, 0.2857143)
    series = tl.fma(z, series, 0.4)
    series = tl.fma(z, series, 0.6666667)
    near = s * (x - z * series)
    return tl.where(tl.abs(x) < 0.5, near, x - log1p(x))
