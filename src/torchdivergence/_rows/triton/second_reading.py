"""The second reading of a long row, with the normalizers known: all terms but those of the first one."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.normalizers import probability_base
from torchdivergence._rows.triton.numbers import LN2, accumulate, add_eights, add_lanes, widen
from torchdivergence._rows.triton.pairs import (
    LARGEST,
    at_least,
    bounded_log_ratio,
    exponent,
    larger_weight,
    ratio_functions,
)
from torchdivergence._rows.triton.powers import (
    alpha_summand,
    least_unit,
    log_power,
    power_factors,
    steps,
    unscaled_power,
    whole_unit,
)
from torchdivergence._rows.triton.results import store_other_terms, store_powers
from torchdivergence._rows.triton.summands import summands
from torchdivergence._rows.triton.tiles import read, tiles


@triton.jit
def second_reading(
    values, rows, row, p, q, p_stride, q_stride, classes, rate, rate_low, log2_rate,
    log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, both, invalid,
    alpha, alpha_low, beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr,
    REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, SMALL_ENTROPY: tl.constexpr, SMALL_SHARE: tl.constexpr, OVERLAP: tl.constexpr,
    MASS_OF_P: tl.constexpr, CHI_SQUARED: tl.constexpr, ALPHA: tl.constexpr, LOG_POWERS: tl.constexpr,
):  # fmt: skip
    """Sum the terms over the classes, and store them."""
    ENTROPY: tl.constexpr = (SMALL_ENTROPY >= 0) | (SMALL_SHARE >= 0)
    ACCEPTANCE: tl.constexpr = (OVERLAP >= 0) | (MASS_OF_P >= 0)
    EXCESS: tl.constexpr = (CHI_SQUARED >= 0) | (ALPHA >= 0)
    none = tl.zeros([T], tl.float32)
    reverse, reverse_low, jeffreys, jeffreys_low, shannon, shannon_low = none, none, none, none, none, none
    more_p, more_p_low, more_q, more_q_low, hellinger, hellinger_low = none, none, none, none, none, none
    light, light_low, share, share_low, overlap, overlap_low = none, none, none, none, none, none
    mass, mass_low, excess, excess_low, powers, powers_low = none, none, none, none, none, none
    down, up, outside = steps(alpha, alpha_low)
    unit = none + least_unit(outside)
    of_b, of_b_low, of_ratio, of_ratio_low, log_mass, log_mass_low = power_factors(
        alpha, alpha_low, rate, rate_low, log_b
    )
    base_a, factor_a = probability_base(log_a, widen(log2_rate))
    base_b, factor_b = probability_base(log_b, widen(log2_rate))
    log_factor = tl.log2(factor_a) * LN2
    far = (low_a != 0) | (low_b != 0)
    for PEELED in tl.static_range(0 if UNIT_P > 1 else 1, 2):
        first, last = tiles(PEELED, classes, 8 * T, UNIT_P)
        for start in range(first, last, 8 * T):
            a, a_low = read(p, start, classes, p_stride, LOG_P, PEELED, UNIT_P, T)
            b, b_low = read(q, start, classes, q_stride, LOG_Q, PEELED, UNIT_Q, T)
            if far:
                a, b = a - low_a, b - low_b
            a, b = at_least(a, -LARGEST), at_least(b, -LARGEST)
            delta = bounded_log_ratio(a, a_low, b, b_low, shift, shift_low, rate, LOG_P, LOG_Q, SCALED)
            y = tl.abs(delta)
            ratio, gap, above, below = ratio_functions(y)
            large = larger_weight(
                delta > 0, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate, LOG_P, LOG_Q
            )
            small = y
            if ACCEPTANCE:
                small = larger_weight(
                    delta <= 0, a, a_low, b, b_low, base_a, base_b, factor_a, factor_b, log2_rate, LOG_P, LOG_Q
                )
            log2_p = exponent(a, a_low, base_a, log2_rate, LOG_P)
            x_reverse, x_jeffreys, x_shannon, x_more_p, x_more_q, x_hellinger, x_light, x_share, x_overlap, x_mass = (
                summands(
                    delta, y, ratio, gap, above, below, large, small, log2_p, log_factor,
                    beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
                    REVERSE_KL >= 0, JEFFREYS >= 0, JENSEN_SHANNON >= 0, TOTAL_VARIATION >= 0, SQUARED_HELLINGER >= 0,
                    ENTROPY, ACCEPTANCE,
                )
            )  # fmt: skip
            if REVERSE_KL >= 0:
                reverse, reverse_low = accumulate(reverse, reverse_low, add_eights(x_reverse))
            if JEFFREYS >= 0:
                jeffreys, jeffreys_low = accumulate(jeffreys, jeffreys_low, add_eights(x_jeffreys))
            if JENSEN_SHANNON >= 0:
                shannon, shannon_low = accumulate(shannon, shannon_low, add_eights(x_shannon))
            if TOTAL_VARIATION >= 0:
                more_p, more_p_low = accumulate(more_p, more_p_low, add_eights(x_more_p))
                more_q, more_q_low = accumulate(more_q, more_q_low, add_eights(x_more_q))
            if SQUARED_HELLINGER >= 0:
                hellinger, hellinger_low = accumulate(hellinger, hellinger_low, add_eights(x_hellinger))
            if ENTROPY:
                light, light_low = accumulate(light, light_low, add_eights(x_light))
                share, share_low = accumulate(share, share_low, add_eights(x_share))
            if ACCEPTANCE:
                overlap, overlap_low = accumulate(overlap, overlap_low, add_eights(x_overlap))
                mass, mass_low = accumulate(mass, mass_low, add_eights(x_mass))
            if EXCESS or LOG_POWERS >= 0:
                z, z_low = log_power(
                    a, a_low, b, b_low, shift, shift_low, of_b, of_b_low, of_ratio, of_ratio_low,
                    log_mass, log_mass_low, LOG_P, LOG_Q,
                )  # fmt: skip
                next_unit = whole_unit(tl.maximum(unit, tl.max(z, 1)))
                power = unscaled_power((z - next_unit[:, None]) + z_low)
                if LOG_POWERS >= 0:
                    scale = unscaled_power(unit - next_unit)
                    powers, powers_low = accumulate(powers * scale, powers_low * scale, add_eights(power))
                if EXCESS:
                    scale = unscaled_power((unit - next_unit) * outside)
                    large *= unscaled_power(-next_unit * outside)[:, None]
                    x_excess = alpha_summand(delta, y, power, large, alpha, down, up)
                    excess, excess_low = accumulate(excess * scale, excess_low * scale, add_eights(x_excess))
                unit = next_unit
    store_other_terms(
        values, rows, row, invalid, p_alone, q_alone, add_lanes(reverse, reverse_low),
        add_lanes(jeffreys, jeffreys_low), add_lanes(shannon, shannon_low), add_lanes(more_p, more_p_low),
        add_lanes(more_q, more_q_low), add_lanes(hellinger, hellinger_low), add_lanes(light, light_low),
        add_lanes(share, share_low), add_lanes(overlap, overlap_low), add_lanes(mass, mass_low),
        REVERSE_KL, JEFFREYS, JENSEN_SHANNON, TOTAL_VARIATION, SQUARED_HELLINGER, SMALL_ENTROPY, SMALL_SHARE,
        OVERLAP, MASS_OF_P,
    )  # fmt: skip
    if EXCESS or LOG_POWERS >= 0:
        top = tl.max(unit, 0)
        scale = unscaled_power(unit - top)
        scale_excess = unscaled_power((unit - top) * outside)
        store_powers(
            values, rows, row, invalid, p_alone, q_alone, both,
            add_lanes(excess * scale_excess, excess_low * scale_excess),
            add_lanes(powers * scale, powers_low * scale), top, alpha, alpha_low, CHI_SQUARED, ALPHA, LOG_POWERS,
        )  # fmt: skip
