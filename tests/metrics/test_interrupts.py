"""An exception at any line of an update leaves the metric as it was before, or as it is after, and never between."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from torchdivergence import (
    CrossEntropy,
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    KLDivergence,
    TotalVariationDistance,
)

STRIDES = {"statistics": 29, "report": 113}  # of these, every so-manieth line: each takes a while

P, Q, MORE = (torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3))


class Interrupt(BaseException):
    """As KeyboardInterrupt: no Exception."""


METRICS: dict[str, Callable[[], Any]] = {
    "sum": lambda: KLDivergence(log_prob=True),
    "rows": lambda: KLDivergence(log_prob=True, reduction="none"),
    "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.5]),
    "report": lambda: DivergenceReport(quantiles=[0.5]),
    "collection": lambda: DivergenceCollection(
        [KLDivergence(log_prob=True), TotalVariationDistance(log_prob=True), CrossEntropy(log_prob=True)]
    ),
}


def interrupted(call: Callable[[], Any], line: int) -> bool:
    """Call, and raise at so many lines of the package or torchmetrics; whether there were so many."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not any(name in frame.f_code.co_filename for name in ("/torchdivergence/", "/torchmetrics/")):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def members(metric: Any) -> Iterator[Metric]:
    yield from [metric] if isinstance(metric, Metric) else metric.values(copy_state=False)


def seen(metric: Any) -> tuple[list[int], list[int]]:
    """All that the metric holds, and what it says."""
    states = [x for m in members(metric) for state in m.metric_state.values() for x in flat(state)]
    counts = [m._update_count for m in members(metric)]
    values = metric.compute()
    return [hash(x.numpy().tobytes()) for x in [*states, *flat(values)]], counts


def flat(values: Any) -> list[Tensor]:
    if isinstance(values, dict):
        return list(values.values())
    return values if isinstance(values, list) else [values]


@pytest.mark.parametrize("step", ["update", "forward", "merge_state"])
@pytest.mark.parametrize("name", METRICS)
def test_an_interrupted_step_is_done_or_not_begun(name: str, step: str) -> None:
    if (name, step) == ("collection", "merge_state"):
        pytest.skip("a collection has no merge_state")

    def made() -> tuple[Any, Callable[[], Any]]:
        metric, other = METRICS[name](), METRICS[name]()
        metric.update(P, Q)
        metric.compute()
        if step == "merge_state":
            other.update(P, MORE)
            return metric, lambda: metric.merge_state(other)
        return metric, lambda: getattr(metric, step)(P, MORE)

    before, after = seen(made()[0]), made()
    after[1]()
    expected = seen(after[0])
    assert before != expected
    line, outcomes = 1, []
    while True:
        metric, call = made()
        if not interrupted(call, line):
            break
        outcomes.append(seen(metric))
        assert outcomes[-1] in (before, expected), f"between, if line {line} of the step raises"
        line += STRIDES.get(name, 1)
    assert before in outcomes
