"""Hidden states and a head in place of logits: peak memory, and time as a ratio to the bare matrix products."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.memory import apart, cell, peak_of
from benchmarks.report import Panel, Section, paragraphs, ratio, spread_cells, table
from benchmarks.timing import interleave
from torchdivergence import KLDivergence, Projected

PRODUCTS, PROJECTED = "the matrix products alone", "Projected"
BLOCK_SIZES = 16, 64, 256
TEXT = """\
A batch of {rows:,} rows, KL of two models with a head each. Peak memory is measured as in the section on memory: beyond
the hidden states and the heads, in MiB. "Chunks of 256" is a loop that projects 256 rows at a time and updates the
metric with their logits."""


class Case(NamedTuple):
    """Heads of one size."""

    rows: int
    classes: int
    width: int

    @property
    def name(self) -> str:
        """As the report has it."""
        return f"{self.classes:,} x {self.width:,}"


class Inputs(NamedTuple):
    """Hidden states and heads, p before q."""

    hidden: tuple[Tensor, Tensor]
    heads: tuple[Tensor, Tensor]


def inputs(case: Case) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(case.rows, case.width, generator=generator)
    head = torch.randn(case.classes, case.width, generator=generator).div_(case.width**0.5)
    return Inputs((hidden, hidden + 0.1), (head, head.clone()))


def products(x: Inputs) -> None:
    """The matrix products of both sides, 64 rows at a time."""
    for hidden, head in zip(*x, strict=True):
        for rows in hidden.split(64):  # type: ignore[no-untyped-call]
            linear(rows, head)


def chunks(size: int) -> Callable[[Inputs], None]:
    """A loop over chunks of rows, whose logits the metric gets."""

    def call(x: Inputs) -> None:
        metric = KLDivergence(log_prob=True)
        for p, q in zip(*(hidden.split(size) for hidden in x.hidden), strict=True):  # type: ignore[no-untyped-call]
            metric.update(linear(p, x.heads[0]), linear(q, x.heads[1]))
        metric.compute()

    return call


def projected(size: int) -> Callable[[Inputs], None]:
    """The metric gets hidden states and heads, and projects a block at a time."""

    def call(x: Inputs) -> None:
        metric = KLDivergence(log_prob=True)
        heads = (functools.partial(linear, weight=weight) for weight in x.heads)
        p, q = (Projected(hidden, head, block_size=size) for hidden, head in zip(x.hidden, heads, strict=True))
        metric.update(p, q)
        metric.compute()

    return call


CONTESTANTS: dict[str, Callable[[Inputs], None]] = {
    PRODUCTS: products,
    "all logits": chunks(1 << 30),
    "chunks of 256": chunks(256),
    **{f"{PROJECTED}, blocks of {size}": projected(size) for size in BLOCK_SIZES},
}


def peak(name: str, case: Case) -> float:
    """MiB beyond the inputs."""
    given = inputs(case)
    CONTESTANTS[name](inputs(Case(2, 10, 4)))
    return peak_of(lambda: CONTESTANTS[name](given))


def measure(quick: bool) -> Section:
    rows = 256 if quick else 2048
    cases = [Case(rows, 49_152, 576), Case(rows, 151_936, 1024)]
    bodies, panels = [], []
    for case in cases:
        peaks = {name: apart(peak, name, case) for name in CONTESTANTS}
        given = inputs(case)
        calls = {name: functools.partial(contestant, given) for name, contestant in CONTESTANTS.items()}
        spreads = interleave(calls, 1 if quick else 3)
        lines = [
            [name, cell(peaks[name]), *spread_cells(x), ratio(x, to=spreads[PRODUCTS])] for name, x in spreads.items()
        ]
        head = ["", "peak memory, MiB", "median", "least to greatest", "over the products"]
        bodies.append(paragraphs(f"**{case.name}**", table(head, lines)))
        panels.append(Panel(case.name, "seconds", spreads))
    return Section("Without logits", paragraphs(TEXT.format(rows=rows), *bodies), panels)
