"""Time and memory on a GPU, beside other libraries and beside the model of the kernels.

What is measured is in ``cuda_calls``. Here it is timed and put into tables.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from benchmarks import roofline
from benchmarks.contestants import OURS
from benchmarks.cuda_calls import FORWARD, REPORT, UPDATE, Case, calls, fit, grid, missing
from benchmarks.report import Panel, Section, digits, duration, paragraphs, table
from benchmarks.timing import Call, Clock, Spread, interleave

MIB = 1 << 20
MODELLED = {FORWARD: "KL", UPDATE: "KL", REPORT: "all terms"}
"""The terms of the kernel whose time is beside a step."""
TEXT = """\
{device}; medians of {rounds} rounds, by CUDA events. Each cell has the time of a call and its peak memory beyond the
inputs, in torch's allocator. `forward` gives the divergence of each row, `forward + backward` also the gradient of
their sum in q. Compilers have finished before."""
MODEL = """\
The column "modelled, not measured" is the time that the busiest unit of a {gpu} needs for the row kernel alone:
memory for each reading of p and q, or a unit for its instructions, as in `python -m benchmarks roofline`. It leaves
out launches and the time between them, the state of a metric, all that torch's own operators do, the first and the
last moments of a kernel, and that a few rows do not occupy all multiprocessors. It does not know that small inputs
lie in the cache. For a report it is a kernel for all terms: the report needs fewer, and what it does with targets and
with the most likely classes is left out. The backward pass has no model."""


class Meter(NamedTuple):
    """How calls are measured: on which device, the seconds of a call, and the bytes that it takes beyond its inputs."""

    device: str
    clock: Clock
    peak: Callable[[Call], int]


class Line(NamedTuple):
    """One step on one shape: what was measured, by contestant, and the seconds of the model, NaN without."""

    case: Case
    step: str
    times: dict[str, Spread]
    peaks: dict[str, int]
    modelled: float


def measure(quick: bool) -> Section:
    if not torch.cuda.is_available():
        return Section("CUDA", "Not measured: no GPU was there.")
    cases, too_large = fit(grid(quick), torch.cuda.mem_get_info()[0])
    architecture = roofline.architecture_of(torch.cuda.get_device_capability())
    rounds = 3 if quick else 7
    lines = [line for case in cases for line in race(case, Meter("cuda", events, peak), rounds, architecture)]
    texts = [
        TEXT.format(device=torch.cuda.get_device_name(), rounds=rounds),
        MODEL.format(gpu=roofline.GPUS[architecture].name),
        *missing(),
        f"Left out, because the memory is too small: {', '.join(map(str, too_large))}." if too_large else "",
    ]
    return Section("CUDA", paragraphs(*texts, *tables(lines)), panels(lines))


def race(case: Case, meter: Meter, rounds: int, architecture: str) -> list[Line]:
    """Every step of every contestant on inputs of this shape."""
    lines = []
    for step, contestants in calls(case, meter.device).items():
        peaks = {name: meter.peak(call) for name, call in contestants.items()}
        times = interleave(contestants, rounds, meter.clock)
        modelled = roofline.seconds(*case, MODELLED[step], architecture) if step in MODELLED else float("nan")
        lines.append(Line(case, step, times, peaks, modelled))
    return lines


def tables(lines: Iterable[Line]) -> list[str]:
    """One for each step and dtype, a line for each shape."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(f"**{line.step}, {line.case.dtype_name}**", []).append(line)
    return [part for title, group in groups.items() for part in (title, _table(group))]


def _table(lines: list[Line]) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line.times))
    with_model = any(line.modelled == line.modelled for line in lines)
    head = ["rows x classes", *names, *(["modelled, not measured", "measured over modelled"] if with_model else [])]
    return table(head, ([line.case.shape_name, *_cells(line, names, with_model)] for line in lines))


def _cells(line: Line, names: list[str], with_model: bool) -> list[str]:
    cells = [f"{duration(line.times[name].median)}, {line.peaks[name] / MIB:,.0f} MiB" for name in names]
    if not with_model:
        return cells
    if line.modelled != line.modelled:
        return [*cells, "", ""]
    return [*cells, duration(line.modelled), f"{digits(line.times[OURS].median / line.modelled)}x"]


def panels(lines: list[Line]) -> list[Panel]:
    """The step forward on the largest shape of each dtype."""
    forward = sorted((line for line in lines if line.step == FORWARD), key=lambda line: line.case.input_bytes)
    largest = {line.case.dtype: Panel(f"{line.case}, CUDA", "seconds", line.times) for line in forward}
    return list(largest.values())


def events(call: Call, times: int) -> float:
    """Seconds a call, by the clock of the device."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(times):
        call()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1000 / times


def peak(call: Call) -> int:
    """Bytes beyond what is there before; the first call, which may compile, does not count."""
    call()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before
