"""Steps are atomic: one that is refused, fails or is interrupted has its whole effect or none."""

import math
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import Metric

from tests.support.backends import fail_in_rows
from tests.support.helpers import Snapshot, assert_same_bits, kl_after, pair
from torchdivergence import (
    CrossEntropy,
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    KLDivergence,
    TotalVariationDistance,
)

some_reductions = pytest.mark.parametrize("reduction", ["mean", "none"])

BAD_BATCHES: dict[str, tuple[Any, ...]] = {
    "classes": (torch.ones(2, 4), torch.ones(2, 5)),
    "negative weight": (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1.0, -1.0])),
    "infinite weight": (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1.0, math.inf])),
    "weights of another shape": (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3)),
    "no tensor": ([[0.5, 0.5]], torch.ones(1, 2)),
    "no class": (torch.ones(2, 0), torch.ones(2, 0)),
    "one argument": (torch.ones(2, 4),),
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("step", ["update", "forward"])
@pytest.mark.parametrize("args", BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
@some_reductions
def test_a_refused_batch_changes_nothing(reduction: str, args: tuple[Any, ...], step: str, computed: bool) -> None:
    metric = kl_after(pair(), reduction=reduction)
    value = metric.compute() if computed else kl_after(pair(), reduction=reduction).compute()
    before = Snapshot(metric)
    with pytest.raises((TypeError, ValueError)):
        getattr(metric, step)(*args)
    before.assert_unchanged()
    assert_same_bits(metric.compute(), value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("step", ["update", "forward"])
@some_reductions
def test_a_batch_that_fails_midway_changes_nothing(reduction: str, step: str, error: type[BaseException]) -> None:
    metric = kl_after(pair(), reduction=reduction)
    metric.compute()
    before = Snapshot(metric)
    with fail_in_rows(error), pytest.raises(error):
        getattr(metric, step)(*pair(seed=1))
    before.assert_unchanged()
    metric.update(*pair(seed=1))
    assert_same_bits(metric.compute(), kl_after(pair(), pair(seed=1), reduction=reduction).compute())


def some_state() -> dict[str, Any]:
    return kl_after(pair()).metric_state


MISMATCHED: dict[str, Callable[[], Any]] = {
    "another reduction": lambda: kl_after(pair(), reduction="none"),
    "logits": lambda: kl_after([x.log() for x in pair()], log_prob=True),
    "another dim": lambda: kl_after(pair(), dim=0),
    "another class": lambda: torchmetrics.KLDivergence(),
    "foreign dict": lambda: {"total": torch.tensor(1)},
    "empty dict": dict,
    "another dtype": lambda: {k: v.double() for k, v in some_state().items()},
    "truncated state": lambda: {k: v[:-1] for k, v in some_state().items()},
}


@pytest.mark.parametrize("other", MISMATCHED.values(), ids=MISMATCHED.keys())
def test_merge_state_refuses_a_state_of_other_settings_and_changes_nothing(other: Callable[[], Any]) -> None:
    metric = kl_after(pair())
    metric.compute()
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="merge_state needs the state 'kl_divergence_sums"):
        metric.merge_state(other())
    before.assert_unchanged()


@pytest.mark.parametrize("incoming", [3, None, [1.0]])
def test_merge_state_refuses_other_objects_and_changes_nothing(incoming: Any) -> None:
    metric = kl_after(pair())
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="state"):
        metric.merge_state(incoming)
    before.assert_unchanged()


# Interrupts at every line

STRIDES = {"collection": 3, "statistics": 47, "report": 211, "kept": 501}
"""For these, which take long, only every n-th line."""

P, Q, MORE = (torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
METRICS: dict[str, Callable[[], Any]] = {
    "sum": lambda: KLDivergence(log_prob=True),
    "rows": lambda: KLDivergence(log_prob=True, reduction="none"),
    "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.5]),
    "report": lambda: DivergenceReport(quantiles=[0.5]),
    "kept": lambda: DivergenceReport(quantiles=[0.5], keep_sequences=True, worst=2),
    "collection": lambda: DivergenceCollection(
        [KLDivergence(log_prob=True), TotalVariationDistance(log_prob=True), CrossEntropy(log_prob=True)]
    ),
}
STEPS = [
    (name, step)
    for name in METRICS
    for step in ("update", "forward", "merge_state")
    if (name, step) != ("collection", "merge_state")  # which a collection lacks
]


class Interrupt(BaseException):
    """Like KeyboardInterrupt, not an Exception."""


def interrupted(call: Callable[[], Any], line: int) -> bool:
    """Call, and raise at the n-th line of the package or torchmetrics; return whether there are so many lines."""
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

    before, grad = sys.gettrace(), torch.is_grad_enabled()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
        torch.set_grad_enabled(grad)  # an exception just before the exit of a with statement skips the exit
    return False


def metrics_of(metric: Any) -> Iterator[Metric]:
    yield from [metric] if isinstance(metric, Metric) else metric.values(copy_state=False)


def observed(metric: Any) -> tuple[list[int], list[int]]:
    """Hashes of all states and values, and the numbers of updates."""
    states = [x for m in metrics_of(metric) for state in m.metric_state.values() for x in flat(state)]
    counts = [m._update_count for m in metrics_of(metric)]
    values = metric.compute()
    return [hash(x.numpy().tobytes()) for x in [*states, *flat(values)]], counts


def flat(values: Any) -> list[Tensor]:
    if isinstance(values, dict):
        return list(values.values())
    return values if isinstance(values, list) else [values]


def prepared(name: str, step: str) -> tuple[Any, Callable[[], Any]]:
    """A metric with one batch, and the step to take."""
    metric, other = METRICS[name](), METRICS[name]()
    keys = {"keys": torch.arange(3)} if name == "kept" else {}
    metric.update(P, Q, **keys)
    metric.compute()
    if step == "merge_state":
        other.update(P, MORE, **keys)
        return metric, lambda: metric.merge_state(other)
    return metric, lambda: getattr(metric, step)(P, MORE, **keys)


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_an_interrupted_step_has_its_whole_effect_or_none(name: str, step: str) -> None:
    before = observed(prepared(name, step)[0])
    metric, call = prepared(name, step)
    call()
    after = observed(metric)
    assert before != after
    line, outcomes = 1, []
    while True:
        metric, call = prepared(name, step)
        if not interrupted(call, line):
            break
        outcomes.append(observed(metric))
        assert outcomes[-1] in (before, after), f"half an effect if line {line} raises"
        line += STRIDES.get(name, 1)
    assert before in outcomes
