"""Load of the machine by other processes while times are taken: threads that wait for a processor are slow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_STAT = Path("/proc/stat")
_seconds = np.zeros(3)  # wall clock, all processors, this process


def _now() -> NDArray[np.float64]:
    user, nice, system, _, _, *interrupts = map(int, _STAT.read_text().split("\n", 1)[0].split()[1:9])
    mine = os.times()
    everyone = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return np.array([mine.elapsed, everyone, mine.user + mine.system])


@contextmanager
def watched() -> Iterator[None]:
    """Measure the load while the body runs."""
    if not _STAT.exists():
        yield
        return
    start = _now()
    yield
    np.add(_seconds, _now() - start, out=_seconds)


def summary() -> str:
    """One sentence on the load since the last summary; empty if nothing was measured."""
    wall, everyone, mine = _seconds
    _seconds.fill(0)
    if not wall:
        return ""
    others = max(0.0, everyone - mine) / wall
    return f"Other processes kept {others:.2f} of {os.cpu_count()} processors busy while the times were taken."
