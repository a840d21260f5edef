"""The speed on a GPU, beside the speed at which it copies memory."""

import functools

import torch
from torch import Tensor

from benchmarks.contestants import LIBRARIES, OURS, READ, Contestant, compiled, read_both
from benchmarks.report import Panel, Section, digits, paragraphs, ratio, spread_cells, table
from benchmarks.speed import NOISE, SPREAD, first_call, label
from benchmarks.timing import Call, Spread, interleave
from tests.support.definitions import near

COPY = "copy of p"
TEXT = """\
{device}, times by CUDA events. Peak memory is that of torch's allocator beyond the inputs. The copy reads p and writes
as much, {copy} GB/s together. Taken as one read of p and q, torchdivergence runs at {ours} GB/s: {part:.0%} of that."""


def measure(quick: bool) -> Section:
    if not torch.cuda.is_available():
        return Section("CUDA", "Not measured: no GPU was there.")
    shape = (1024 if quick else 8192, 128_256)
    results = [race(*shape, dtype, 3 if quick else 9) for dtype in (torch.bfloat16, torch.float32)]
    return Section("CUDA", paragraphs(*(body for body, _ in results)), [panel for _, panel in results])


def race(rows: int, classes: int, dtype: torch.dtype, rounds: int) -> tuple[str, Panel]:
    p, q = near((rows, classes), SPREAD, NOISE, dtype, device="cuda")
    extra = compiled()
    note = first_call(extra, p, q)
    contestants = LIBRARIES | extra | {READ: read_both, COPY: functools.partial(copy, torch.empty_like(p))}
    torch.cuda.empty_cache()
    memory = {name: peak(contestant, p, q) for name, contestant in contestants.items()}
    calls = {name: functools.partial(contestant, p, q) for name, contestant in contestants.items()}
    spreads = interleave(calls, rounds, events)
    title = label(rows, classes, dtype)
    body = paragraphs(f"**{title}**", bandwidth(spreads, p.nbytes), times_and_memory(spreads, memory), note)
    return body, Panel(f"{title}, CUDA", "seconds", spreads)


def copy(target: Tensor, p: Tensor, _: Tensor) -> Tensor:
    return target.copy_(p)


def events(call: Call, times: int) -> float:
    """Seconds a call, by the clock of the device."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(times):
        call()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1000 / times


def peak(contestant: Contestant, p: Tensor, q: Tensor) -> int:
    """Bytes beyond the inputs."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    contestant(p, q)
    return torch.cuda.max_memory_allocated() - before


def bandwidth(spreads: dict[str, Spread], one_input: int) -> str:
    copied, mine = (2 * one_input / spreads[name].median / 1e9 for name in (COPY, OURS))
    device = torch.cuda.get_device_name()
    return TEXT.format(device=device, copy=digits(copied), ours=digits(mine), part=mine / copied)


def times_and_memory(spreads: dict[str, Spread], memory: dict[str, int]) -> str:
    rows = (
        [name, *spread_cells(x), ratio(x, to=spreads[OURS]), f"{memory[name] / (1 << 20):,.0f}"]
        for name, x in spreads.items()
    )
    return table(["", "median", "least to greatest", "median over ours", "peak memory, MiB"], rows)
