"""The kernel for rows of many classes: a program a row, which is read once or twice."""

import triton
import triton.language as tl

from torchdivergence._rows.triton.first_reading import first_reading
from torchdivergence._rows.triton.results import store_first_terms
from torchdivergence._rows.triton.second_reading import second_reading
from torchdivergence._rows.triton.weights import SHAPES, row_offset


@triton.jit(do_not_specialize=SHAPES)
def long_rows(
    p, q, values, rows, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, q_stride_0, q_stride_1, q_stride_2,
    p_stride, q_stride, classes, rate, rate_low, log2_rate,
    alpha, alpha_low, beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr,
    UNIT_P: tl.constexpr, UNIT_Q: tl.constexpr, T: tl.constexpr, AGAIN: tl.constexpr,
    KL: tl.constexpr, LOG_MASS_P: tl.constexpr, LOG_MASS_Q: tl.constexpr, TOP_P: tl.constexpr, TOP_Q: tl.constexpr,
    REVERSE_KL: tl.constexpr, JEFFREYS: tl.constexpr, JENSEN_SHANNON: tl.constexpr, TOTAL_VARIATION: tl.constexpr,
    SQUARED_HELLINGER: tl.constexpr, SMALL_ENTROPY: tl.constexpr, SMALL_SHARE: tl.constexpr, OVERLAP: tl.constexpr,
    MASS_OF_P: tl.constexpr, CHI_SQUARED: tl.constexpr, ALPHA: tl.constexpr, LOG_POWERS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    p += row_offset(row, size_1, size_2, p_stride_0, p_stride_1, p_stride_2, UNIT_P)
    q += row_offset(row, size_1, size_2, q_stride_0, q_stride_1, q_stride_2, UNIT_Q)
    kl, log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, both, invalid, top_p, top_q = first_reading(
        p, q, p_stride, q_stride, classes, rate, log2_rate, LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T,
        (TOP_P >= 0) | (TOP_Q >= 0),
    )  # fmt: skip
    store_first_terms(
        values, rows, row, invalid, p_alone, kl, log_a, log_b, low_a, low_b, rate, rate_low, top_p, top_q,
        KL, LOG_MASS_P, LOG_MASS_Q, TOP_P, TOP_Q,
    )  # fmt: skip
    if AGAIN:
        second_reading(
            values, rows, row, p, q, p_stride, q_stride, classes, rate, rate_low, log2_rate,
            log_a, log_b, shift, shift_low, low_a, low_b, p_alone, q_alone, both, invalid,
            alpha, alpha_low, beta, rest_beta, c0, c1, c2, c3, c4, c5, c6, c7, c8,
            LOG_P, LOG_Q, SCALED, UNIT_P, UNIT_Q, T,
            REVERSE_KL, JEFFREYS, JENSEN_SHANNON, TOTAL_VARIATION, SQUARED_HELLINGER, SMALL_ENTROPY, SMALL_SHARE,
            OVERLAP, MASS_OF_P, CHI_SQUARED, ALPHA, LOG_POWERS,
        )  # fmt: skip
