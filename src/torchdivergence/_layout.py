"""The memory layout that Python and the native extension share. The extension reports its own; both must agree."""

INTERFACE = 3
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

DTYPE_CODES = {"float64": 0, "float32": 1, "bfloat16": 2, "float16": 3}

EXPECTED = {
    "interface": INTERFACE,
    "limb_bits": LIMB_BITS,
    "limbs": LIMBS,
    "width": WIDTH,
    "octaves": OCTAVES,
    "bin_bits": (COARSE_BITS, FINE_BITS),
    "dtypes": DTYPE_CODES,
}
"""What the extension has to report as its layout."""
