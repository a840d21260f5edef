"""What a metric costs where the batch is so small that the arithmetic costs nothing."""

import functools

import torch
import torchmetrics

from benchmarks.contestants import OURS, TORCHMETRICS
from benchmarks.report import Section, digits, paragraphs, ratio, table
from benchmarks.timing import Spread, interleave
from tests.support.definitions import near
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence

TEXT = """\
`update` and `forward` of both `KLDivergence` metrics on probabilities, 8 rows with 10 classes, in µs: the median and in
brackets, least to greatest."""
TEXT_OF_REPORTS = """\
`update` on logits, 64 rows with 50 classes: one sequence each, or all in one sequence; in µs."""


def measure(quick: bool) -> Section:
    rounds = 5 if quick else 25
    return Section("Overhead", paragraphs(TEXT, _metrics(rounds), TEXT_OF_REPORTS, _reports(rounds)))


def _metrics(rounds: int) -> str:
    p, q = (x.softmax(-1) for x in near((8, 10), 3.0, 0.1))
    metrics = {OURS: KLDivergence(), TORCHMETRICS: torchmetrics.KLDivergence()}
    calls = {(name, step): getattr(metric, step) for name, metric in metrics.items() for step in ("update", "forward")}
    named = {f"{step} {name}": functools.partial(call, p, q) for (name, step), call in calls.items()}
    spreads = interleave(named, rounds)
    rows = [line(step, spreads) for step in ("update", "forward")]
    return table(["", OURS, TORCHMETRICS, f"{TORCHMETRICS} over ours"], rows)


def _reports(rounds: int) -> str:
    p, q = near((64, 50), 3.0, 0.1)
    target = torch.randint(0, 50, (64,), generator=torch.Generator().manual_seed(0))
    metrics = {
        "KLDivergence": (KLDivergence(log_prob=True), (p, q)),
        "DivergenceStatistics": (DivergenceStatistics(KLDivergence(log_prob=True)), (p, q)),
        "DivergenceReport": (DivergenceReport(), (p, q)),
        "DivergenceReport, with targets": (DivergenceReport(), (p, q, target)),
    }
    shapes = {"64 sequences": lambda x: x, "1 sequence": lambda x: x.unsqueeze(0)}
    calls = {
        f"{name} {shape}": functools.partial(metric.update, *map(view, batch))
        for name, (metric, batch) in metrics.items()
        for shape, view in shapes.items()
    }
    spreads = interleave(calls, rounds)
    return table(["", *shapes], [[name, *(cell(spreads[f"{name} {shape}"]) for shape in shapes)] for name in metrics])


def line(step: str, spreads: dict[str, Spread]) -> list[str]:
    mine, theirs = (spreads[f"{step} {name}"] for name in (OURS, TORCHMETRICS))
    return [f"`{step}`", cell(mine), cell(theirs), ratio(theirs, to=mine)]


def cell(spread: Spread) -> str:
    median, low, high = (digits(1e6 * x) for x in spread)
    return f"{median} ({low} to {high})"
