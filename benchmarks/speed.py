"""How long the rows take, beside other libraries and beside limits."""

import functools

import torch
from torch import Tensor

from benchmarks.contestants import COMPILED, LIBRARIES, LIMITS, Contestant, compiled
from benchmarks.report import Panel, Section, duration, paragraphs, times_table
from benchmarks.timing import Spread, interleave, wall
from tests.support.definitions import near

SPREAD, NOISE = 3.0, 0.1
TEXT = """\
One call on logits of standard deviation 3 in p, and the same with noise of 0.1 in q. All contestants take turns in one
process. `F.kl_div` and torchmetrics make tensors of the size of the logits; their times depend on whether the system
has to supply that memory anew, page by page, and can differ from round to round. The limits compute no divergence:
the exponentials of both inputs, by `torch.exp` in pieces that stay in the cache, and one read of both inputs. Compiled
code can take exponentials faster than `torch.exp`. Its first call is reported separately; the very first one loads the
compiler as well."""


def cases(quick: bool) -> list[tuple[int, int, torch.dtype]]:
    rows, wide = (64, 1024) if quick else (512, 8192)
    return [(rows, 128_256, torch.float32), (wide, 1000, torch.float32), (rows, 128_256, torch.bfloat16)]


def measure(quick: bool) -> Section:
    results = {label(*case): race(*near(case[:2], SPREAD, NOISE, case[2]), 3 if quick else 7) for case in cases(quick)}
    parts = [part for name, (spreads, note) in results.items() for part in (f"**{name}**", times_table(spreads), note)]
    panels = [Panel(name, "seconds", spreads) for name, (spreads, _) in results.items()]
    return Section("Speed", paragraphs(TEXT, *parts), panels)


def race(p: Tensor, q: Tensor, rounds: int) -> tuple[dict[str, Spread], str]:
    """The times, and a word on the time of compilation, which they leave out."""
    extra = compiled()
    note = first_call(extra, p, q)
    calls = {name: functools.partial(call, p, q) for name, call in (LIBRARIES | extra | LIMITS).items()}
    return interleave(calls, rounds), note


def first_call(extra: dict[str, Contestant], p: Tensor, q: Tensor) -> str:
    """Let the compiled one compile; a word on how long that took."""
    if not extra:
        return "There was no compiler for `torch.compile`."
    seconds = wall(functools.partial(extra[COMPILED], p, q), 1)
    return f"The first call of the compiled one, which the table leaves out, took {duration(seconds)}."


def label(rows: int, classes: int, dtype: torch.dtype) -> str:
    return f"{rows:,} x {classes:,}, {str(dtype).removeprefix('torch.')}"
