"""The compiled code: src/native/module.c."""

SUMS: tuple[str, ...]
MOST_SUMS: int

_Side = tuple[int, int, bool, tuple[int, ...]]
"""Address, dtype, whether it holds logarithms, strides of the batch dimensions in numbers."""

def sums(
    p: _Side,
    q: _Side,
    batch: tuple[int, ...],
    classes: int,
    temperature: float,
    wanted: tuple[tuple[int, float], ...],
    out: int,
    threads: int,
    /,
) -> None:
    """For each row the sums that are wanted, pairs of a place in SUMS and a parameter: float64, [wanted, *batch]."""

def add(numbers: int, height: int, count: int, banks: int, /) -> None:
    """Adds numbers, float64 [height, count] at an address, to banks, int64 [height, 84] at another."""
