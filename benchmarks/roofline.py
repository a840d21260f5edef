"""A model of the GPU kernels: the time that each unit of a GPU needs for a class, from their machine code."""

import json
import math
import re
from typing import Any, NamedTuple

import torch

from benchmarks.report import Section, digits, paragraphs, table
from tests.support.machine_code import COUNTS


class Gpu(NamedTuple):
    """Figures of the vendor: for each multiprocessor and clock, the numbers of threads that a unit serves."""

    name: str
    multiprocessors: int
    clock: float
    bandwidth: float
    fma: int
    fp64: int
    special: int = 16
    issue: int = 128


GPUS = {
    "sm_80": Gpu("A100 80 GB", 108, 1.41e9, 2.04e12, 64, 32),
    "sm_90": Gpu("H100 SXM", 132, 1.83e9, 3.35e12, 128, 64),
    "sm_100": Gpu("B200", 148, 1.85e9, 8.0e12, 128, 64),
}
TEXT = """\
Modelled, not measured: picoseconds for a pair of numbers, one of p and one of q, of a whole GPU at its boost clock.
Each column is the least time that one unit needs: memory for one reading of both numbers, and of gradients for one
writing, float32 additions and products, special functions, float64, and the issue of all instructions. The largest one
is the bound. Of rows of many classes these are the inner loops, a line for each reading; of rows of few classes it is
the whole program, its idle lanes included."""


def measure(quick: bool) -> Section:  # noqa: ARG001
    """The table for each case and architecture whose instructions were counted."""
    lines = []
    for case, architectures in json.loads(COUNTS.read_text()).items():
        for architecture, parts in architectures.items():
            for reading, part in enumerate(parts, 1):
                times = picoseconds(case, GPUS[architecture], part)
                bound = max(times, key=lambda unit: times[unit])
                name = f"{case}, reading {reading}" if len(parts) > 1 else case
                over = f"{max(times.values()) / times['memory']:.2f}x"
                lines.append([name, GPUS[architecture].name, *map(digits, times.values()), bound, over])
    head = ["", "GPU", "memory", "float32", "special", "float64", "issue", "bound", "over memory"]
    return Section("GPU kernels, modelled", paragraphs(TEXT, table(head, lines)))


def architecture_of(capability: tuple[int, int]) -> str:
    """The newest architecture in the table up to this compute capability; the oldest one if all are newer."""
    number = 10 * capability[0] + capability[1]
    return max((x for x in GPUS if int(x[3:]) <= number), key=lambda x: int(x[3:]), default="sm_80")


def seconds(rows: int, classes: int, dtype: torch.dtype, terms: str, architecture: str) -> float:
    """The time of the busiest unit of a whole GPU for rows of logits; NaN if no such kernel was counted.

    The kernel of long rows does the same for each class, whatever their number; that of short rows does not. Their
    arithmetic is that of the dtype that was counted.
    """
    from torchdivergence._rows.triton.arguments import SHORT

    kernel, counted = ("short_rows", classes) if classes <= SHORT else ("long_rows", 128_256)
    size = "fp32" if kernel == "short_rows" or dtype == torch.float32 else "bf16"
    case = f"{kernel}, {size}, {counted} classes, {terms}"
    parts = json.loads(COUNTS.read_text()).get(case, {}).get(architecture)
    if parts is None:
        return math.nan
    gpu = GPUS[architecture]
    reading = {"memory": 2 * dtype.itemsize / gpu.bandwidth * 1e12}
    pair = sum(max((picoseconds(case, gpu, part) | reading).values()) for part in parts)
    return rows * classes * pair * 1e-12


def picoseconds(case: str, gpu: Gpu, part: dict[str, Any]) -> dict[str, float]:
    """The time of each unit for a pair of numbers."""
    classes = int(re.search(r"(\d+) classes", case)[1])  # type: ignore[index]
    lanes = 1 << (classes - 1).bit_length() if case.startswith("short") else classes
    pairs = part["pairs"] * classes / lanes
    clocks = {
        "float32": (part["fma"] + 2 * part["packed"]) / gpu.fma,
        "special": part["special"] / gpu.special,
        "float64": part["fp64"] / gpu.fp64,
        "issue": part["all"] / gpu.issue,
    }
    size = 2 if "bf16" in case else 4
    times = {unit: x / pairs / gpu.multiprocessors / gpu.clock * 1e12 for unit, x in clocks.items()}
    transfers = 4 if "gradients" in case and "stores" in part else 2
    return {"memory": transfers * size / gpu.bandwidth * 1e12} | times
