"""The memory layout that Python and the native extension share. The extension reports its own; both must agree."""

INTERFACE = 4
"""Version of the functions that the extension exports: incremented when a signature, a code or a layout changes."""

LIMB_BITS = 26
LIMBS = 81
"""Limbs of an accumulator: 81 * 26 bits reach past the largest float64."""
SPECIAL_COUNTS = 3
"""Numbers that follow the limbs: how many finite, infinite and NaN values were accumulated."""
WIDTH = LIMBS + SPECIAL_COUNTS
"""Length of an accumulator in int64 numbers."""

OCTAVES = (-167, -40, 8, 136)
"""Powers of two between which a histogram has coarse, fine and again coarse bins."""
COARSE_BITS, FINE_BITS = 5, 9
"""Bits of the mantissa that choose the bin: an octave has 32 coarse bins or 512 fine ones."""

_COARSE_OCTAVES, _FINE_OCTAVES = OCTAVES[1] - OCTAVES[0] + OCTAVES[3] - OCTAVES[2], OCTAVES[2] - OCTAVES[1]
BINS = (_COARSE_OCTAVES << COARSE_BITS) + (_FINE_OCTAVES << FINE_BITS) + 4
"""Bins of non-negative numbers. Four are for zero, infinity, and numbers outside the octaves."""

TARGET_COLUMNS = ("loss_p", "loss_q", "log_ratio", "delta_p", "delta_p_squared")
"""Of the target t: -log p_t, -log q_t, log(p_t / q_t), q_t - p_t and its square."""
CORRECTNESS_COLUMNS = (
    *("accuracy_p", "accuracy_q", "accuracy_difference"),
    *("both_correct", "worsened", "improved", "both_wrong_differently"),
)
"""Whether the most likely class of p, of q, is the target; the second minus the first; and cases that exclude each
other: that of both is, of p alone, of q alone, and of neither, where the two classes differ."""

DTYPE_CODES = {"float64": 0, "float32": 1, "bfloat16": 2, "float16": 3}

EXPECTED = {
    "interface": INTERFACE,
    "limb_bits": LIMB_BITS,
    "limbs": LIMBS,
    "width": WIDTH,
    "octaves": OCTAVES,
    "bin_bits": (COARSE_BITS, FINE_BITS),
    "bins": BINS,
    "dtypes": DTYPE_CODES,
    "columns": (*TARGET_COLUMNS, *CORRECTNESS_COLUMNS),
}
"""What the extension has to report as its layout."""
