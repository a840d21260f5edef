"""What is measured on a GPU: the shapes, and the calls on them. Nothing here is timed."""

import functools
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torchmetrics
from torch import Tensor
from torchmetrics import Metric

from benchmarks.contestants import LIBRARIES, LIGER, OURS, READ, TORCHMETRICS, compiled, gradient_in_q, liger, read_both
from benchmarks.speed import NOISE, SPREAD, label
from benchmarks.timing import Call
from tests.support.definitions import near
from torchdivergence import DivergenceReport, KLDivergence

FORWARD, BACKWARD, UPDATE, REPORT = "forward", "forward + backward", "update", "update of a report with targets"
ROWS, CLASSES = (1, 32, 1024, 8192), (10, 1000, 32_000, 128_256, 262_144)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INPUTS_IN_MEMORY = 12
"""The most that a step takes, in sizes of one input: a gradient of ``F.kl_div``."""
_DISTINCT = 64
"""Rows of random numbers, which are repeated: times do not depend on it, and they are made in float64."""


class Case(NamedTuple):
    """Inputs of one shape and dtype."""

    rows: int
    classes: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return label(*self)

    @property
    def shape_name(self) -> str:
        """Rows and classes."""
        return f"{self.rows:,} x {self.classes:,}"

    @property
    def dtype_name(self) -> str:
        """Without the name of the module."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def input_bytes(self) -> int:
        """The size of one input."""
        return self.rows * self.classes * self.dtype.itemsize

    def inputs(self, device: str) -> tuple[Tensor, Tensor]:
        """The logits p and q."""
        distinct = min(self.rows, _DISTINCT)
        p, q = near((distinct, self.classes), SPREAD, NOISE, self.dtype, device=device)
        return p.repeat(-(-self.rows // distinct), 1)[: self.rows], q.repeat(-(-self.rows // distinct), 1)[: self.rows]


def grid(quick: bool) -> list[Case]:
    """All shapes and dtypes; a few of them for a trial, which takes less than five minutes."""
    if quick:
        return [Case(*case) for case in itertools.product((1, 1024), (10, 1000, 128_256), DTYPES[:2])]
    return [Case(*case) for case in itertools.product(ROWS, CLASSES, DTYPES)]


def fit(cases: Iterable[Case], free_bytes: int) -> tuple[list[Case], list[Case]]:
    """The cases whose steps need no more memory than is free, and the others."""
    parts: tuple[list[Case], list[Case]] = ([], [])
    for case in cases:
        parts[INPUTS_IN_MEMORY * case.input_bytes > free_bytes].append(case)
    return parts


def calls(case: Case, device: str) -> dict[str, dict[str, Call]]:
    """For each step, what every contestant that has it does on these inputs."""
    p, q = case.inputs(device)
    target = p.argmax(-1)
    functions = LIBRARIES | compiled() | liger()
    theirs, ours = torchmetrics.KLDivergence().to(device), KLDivergence(log_prob=True).to(device)
    return {
        FORWARD: {name: functools.partial(f, p, q) for name, f in (functions | {READ: read_both}).items()},
        BACKWARD: {name: functools.partial(gradient_in_q(f), p, q) for name, f in functions.items()},
        UPDATE: {
            OURS: functools.partial(update, ours, p, q),
            TORCHMETRICS: functools.partial(update_with_probabilities, theirs, p, q),
        },
        REPORT: {OURS: functools.partial(update, DivergenceReport().to(device), p, q, target)},
    }


def update(metric: Metric, *inputs: Tensor) -> None:
    metric.update(*inputs)


def update_with_probabilities(metric: Metric, p: Tensor, q: Tensor) -> None:
    metric.update(p.softmax(-1), q.softmax(-1))


def missing() -> list[str]:
    """A line on each contestant that is not there."""
    absent = {"`torch.compile`: there was no compiler": not compiled(), f"{LIGER}: it is not installed": not liger()}
    return [f"Without {reason}." for reason, is_absent in absent.items() if is_absent]
