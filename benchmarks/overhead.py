"""What a metric costs where the batch is so small that the arithmetic costs nothing."""

import functools

import torchmetrics

from benchmarks.contestants import OURS, TORCHMETRICS
from benchmarks.report import Section, digits, paragraphs, ratio, table
from benchmarks.timing import Spread, interleave
from tests.support.definitions import near
from torchdivergence import KLDivergence

TEXT = """\
`update` and `forward` of both `KLDivergence` metrics on probabilities, 8 rows with 10 classes, in µs: the median and in
brackets, least to greatest."""


def measure(quick: bool) -> Section:
    p, q = (x.softmax(-1) for x in near((8, 10), 3.0, 0.1))
    metrics = {OURS: KLDivergence(), TORCHMETRICS: torchmetrics.KLDivergence()}
    calls = {(name, step): getattr(metric, step) for name, metric in metrics.items() for step in ("update", "forward")}
    named = {f"{step} {name}": functools.partial(call, p, q) for (name, step), call in calls.items()}
    spreads = interleave(named, 5 if quick else 25)
    rows = [line(step, spreads) for step in ("update", "forward")]
    return Section("Overhead", paragraphs(TEXT, table(["", OURS, TORCHMETRICS, f"{TORCHMETRICS} over ours"], rows)))


def line(step: str, spreads: dict[str, Spread]) -> list[str]:
    mine, theirs = (spreads[f"{step} {name}"] for name in (OURS, TORCHMETRICS))
    return [f"`{step}`", cell(mine), cell(theirs), ratio(theirs, to=mine)]


def cell(spread: Spread) -> str:
    median, low, high = (digits(1e6 * x) for x in spread)
    return f"{median} ({low} to {high})"
