"""How the time grows with the number of rows and of classes."""

import functools

from benchmarks.contestants import OURS, TORCH, ours, torch_kl
from benchmarks.report import Section, digits, paragraphs, ratio, table
from benchmarks.speed import NOISE, SPREAD
from benchmarks.timing import Spread, interleave
from tests.support.definitions import near

TEXT = """\
Where time is proportional to the numbers that come in, the columns of `ns` (time for one class of one row, float32) are
flat. The second table has about as many numbers in each line."""


def measure(quick: bool) -> Section:
    top, numbers, rounds = (2048, 1 << 20, 3) if quick else (65_536, 1 << 23, 5)
    by_rows = [(rows, 1000) for rows in (64, 256, 1024, 4096, 16_384, 65_536) if rows <= top]
    by_classes = [(numbers // classes, classes) for classes in (10, 100, 1000, 8192, 32_768, 131_072, 262_144)]
    return Section("Scaling", paragraphs(TEXT, *(lines(shapes, rounds) for shapes in (by_rows, by_classes))))


def lines(shapes: list[tuple[int, int]], rounds: int) -> str:
    return table(
        ["rows", "classes", f"{OURS}, µs a row", f"{OURS}, ns", f"{TORCH}, ns", f"{TORCH} over ours"],
        [line(rows, classes, rounds) for rows, classes in shapes],
    )


def line(rows: int, classes: int, rounds: int) -> list[str]:
    pair = near((rows, classes), SPREAD, NOISE)
    calls = {OURS: functools.partial(ours, *pair), TORCH: functools.partial(torch_kl, *pair)}
    spreads = interleave(calls, rounds)
    a_row = digits(1e6 * spreads[OURS].median / rows)
    numbers = [nanoseconds(spreads[name], rows * classes) for name in (OURS, TORCH)]
    return [f"{rows:,}", f"{classes:,}", a_row, *numbers, ratio(spreads[TORCH], to=spreads[OURS])]


def nanoseconds(spread: Spread, numbers: int) -> str:
    return digits(1e9 * spread.median / numbers)
