"""The parts of a report: sections of Markdown, and the bars that belong to them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.contestants import OURS
from benchmarks.timing import Spread


class Panel(NamedTuple):
    """One chart: a bar for each contestant, from the least to the greatest value as a whisker."""

    title: str
    unit: str
    bars: Mapping[str, Spread]


class Section(NamedTuple):
    """What one module has measured."""

    title: str
    body: str
    panels: Sequence[Panel] = ()

    def __str__(self) -> str:
        return f"## {self.title}\n\n{self.body}\n"


def paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(seconds: float) -> str:
    """Three digits with the unit that suits them."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{digits(seconds / unit)} {name}"
    return f"{digits(seconds / 1e-9)} ns"


def digits(number: float) -> str:
    """Three of them, and no exponent."""
    return f"{number:,.0f}" if number >= 99.5 else f"{number:#.3g}"


def spread_cells(spread: Spread) -> list[str]:
    """Median, then least to greatest."""
    return [duration(spread.median), f"{duration(spread.low)} to {duration(spread.high)}"]


def ratio(spread: Spread, to: Spread) -> str:
    return f"{digits(spread.median / to.median)}x"


def times_table(spreads: Mapping[str, Spread]) -> str:
    """Times of contestants, beside ours."""
    rows = ([name, *spread_cells(x), ratio(x, to=spreads[OURS])] for name, x in spreads.items())
    return table(["", "median", "least to greatest", "median over ours"], rows)
