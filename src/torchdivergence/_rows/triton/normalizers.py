"""The weights of a row: bases, factors and normalizers."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.numbers import widen
from torchdivergence._rows.triton.pairs import FAR

LARGEST_SAVED = tl.constexpr(1e6)
"""The largest logarithm of a normalizer, in size, whose float64 number has the digits that a small log(p / q) needs."""


@triton.jit
def whole_base(top, log2_rate):
    """An integer at or above the exponent of the largest weight; 0 if there is none."""
    base = tl.ceil(top * log2_rate)
    return tl.where(tl.abs(base) < FAR, base, 0.0)


@triton.jit
def share_factor(shift, shift_low, log2_rate, bases):
    """2 ** (shift * log2_rate + bases) in float32."""
    x = (shift.to(tl.float64) + shift_low.to(tl.float64)) * log2_rate + bases.to(tl.float64)
    whole = tl.floor(x)
    return tl.exp2((x - whole).to(tl.float32)) * tl.exp2(whole.to(tl.float32))


@triton.jit
def probability_base(log_mass, log2_rate):
    """The base and the factor of weights that are probabilities: the factor is between 1 and 2."""
    exponent_of_mass = log_mass * log2_rate
    base = tl.ceil(exponent_of_mass)
    return base.to(tl.float32), tl.exp2((base - exponent_of_mass).to(tl.float32))


@triton.jit
def store_term(values, SLOT: tl.constexpr, rows, row, x, invalid):
    """Store a term, if it has a place among those that were requested."""
    if SLOT >= 0:
        at = row.to(tl.int64)
        tl.store(
            values + SLOT * (at * 0 + rows) + at, tl.where(invalid, float("nan"), x.to(tl.float64)), mask=row < rows
        )


@triton.jit
def saved_masses(log_masses, rows, row, rate, rate_low):
    """The logarithms of the normalizers over the rate, from a forward pass, and whether they have too few digits."""
    of_p, of_q = tl.load(log_masses + row), tl.load(log_masses + row + rows)
    temperature = 1 / (widen(rate) + rate_low)
    return of_p * temperature, of_q * temperature, (tl.abs(of_p) > LARGEST_SAVED) | (tl.abs(of_q) > LARGEST_SAVED)


@triton.jit
def shares(log_a, log_b, log2_rate):
    """The difference of the log-normalizers in two floats; bases and factors of weights that are probabilities."""
    shift = (log_a - log_b).to(tl.float32)
    shift_low = (log_a - log_b - shift.to(tl.float64)).to(tl.float32)
    base_a, factor_a = probability_base(log_a, widen(log2_rate))
    base_b, factor_b = probability_base(log_b, widen(log2_rate))
    return shift, shift_low, base_a, base_b, factor_a, factor_b
