"""How much memory a call takes beyond its inputs, at its peak."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.contestants import LIBRARIES, OURS, TORCH, gradient_in_q
from benchmarks.report import Panel, Section, paragraphs, table
from benchmarks.speed import NOISE, SPREAD, label
from benchmarks.timing import Call, Spread
from tests.support.definitions import near

CONTESTANTS = LIBRARIES | {f"{name}, with backward": gradient_in_q(LIBRARIES[name]) for name in (OURS, TORCH)}
MIB = 1 << 20
TEXT = """\
Peak of the resident memory during one call, less that before it, in MiB: the median of three calls and, in brackets,
least to greatest. Every call has a process of its own. There the inputs were written before, and a call on two small
rows has started the threads; then the kernel's high-water mark (VmHWM in `/proc/self/status`) was set back. "With
backward" is the call and the gradient in q, which is itself as large as one input. "Classes first" is a transposed
view: the numbers of one class are neighbors in memory."""


class Case(NamedTuple):
    """Inputs of one shape and layout."""

    rows: int
    classes: int
    dtype: torch.dtype
    classes_last: bool = True

    @property
    def name(self) -> str:
        """As the report has it."""
        return label(self.rows, self.classes, self.dtype) + ("" if self.classes_last else ", classes first")

    @property
    def mebibytes(self) -> float:
        """The size of one input."""
        return self.rows * self.classes * self.dtype.itemsize / MIB

    def filled(self, row: Tensor) -> Tensor:
        """``[rows, classes]`` in this layout."""
        shape = self.rows, self.classes
        x = torch.empty(shape, dtype=self.dtype) if self.classes_last else torch.empty(shape[::-1], dtype=self.dtype).T
        return x.copy_(row)


def measure(quick: bool) -> Section:
    if not Path("/proc/self/clear_refs").exists():
        return Section("Memory", "Not measured: this system has no `/proc/self/clear_refs`.")
    rows = 64 if quick else 1024
    cases = [
        Case(rows, 128_256, torch.float32),
        Case(rows, 128_256, torch.bfloat16),
        Case(rows, 128_256, torch.float32, classes_last=False),
    ]
    panels = [Panel(case.name, "MiB", {name: apart(peak, name, case) for name in CONTESTANTS}) for case in cases]
    lines = [
        [case.name, f"{case.mebibytes:,.0f}", *(cell(x) for x in panel.bars.values())]
        for case, panel in zip(cases, panels, strict=True)
    ]
    return Section("Memory", paragraphs(TEXT, table(["", "one input", *CONTESTANTS], lines)), panels)


def cell(peaks: Spread) -> str:
    return f"{peaks.median:,.0f} ({peaks.low:,.0f} to {peaks.high:,.0f})"


def apart(function: Callable[..., float], *args: Any) -> Spread:
    """The peaks of calls in new processes, one each, which inherit imported modules and no tensors or threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        low, median, high = sorted(x.result() for x in [pool.submit(function, *args) for _ in range(3)])
    return Spread(median, low, high)


def peak(name: str, case: Case) -> float:
    """MiB beyond the inputs. Their rows are all alike: that is quick to write, and memory does not depend on it."""
    call = CONTESTANTS[name]
    p, q = (case.filled(row) for row in near(case.classes, SPREAD, NOISE, case.dtype))
    call(torch.zeros(2, 10, dtype=case.dtype), torch.zeros(2, 10, dtype=case.dtype))
    return peak_of(lambda: call(p, q))


def peak_of(call: Call) -> float:
    """MiB that a call takes at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM is now the memory in use
    before = high_water_mark()
    call()
    return high_water_mark() - before


def high_water_mark() -> float:
    """The greatest resident memory since it was last set back, in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
