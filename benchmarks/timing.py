"""Times of contestants that take turns, so that a busy minute of the machine falls on all of them."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.machine_load import watched

Call = Callable[[], object]
Clock = Callable[[Call, int], float]

_SHORTEST = 0.02  # seconds: what takes less is repeated, and the time divided


class Spread(NamedTuple):
    """A median with the least and the greatest value; of times, in seconds."""

    median: float
    low: float
    high: float


def wall(call: Call, times: int) -> float:
    """Seconds a call, by the wall clock."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def interleave(calls: Mapping[str, Call], rounds: int, clock: Clock = wall) -> dict[str, Spread]:
    """Every call once a round, each round in another order.

    A turn begins with a call that does not count: the memory that one contestant frees is the trouble of the next.
    """
    times = {name: _repeats(call, clock) for name, call in calls.items()}
    order, shuffle = list(calls), random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with watched():
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                calls[name]()
                seconds[name].append(clock(calls[name], times[name]))
    return {name: Spread(statistics.median(x), min(x), max(x)) for name, x in seconds.items()}


def _repeats(call: Call, clock: Clock) -> int:
    clock(call, 1)
    return max(1, round(_SHORTEST / clock(call, 1)))
