"""Updates on a GPU: few launches, no waiting, one tensor of state that can be captured. Here the GPU is simulated."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from torchdivergence import DivergenceStatistics, KLDivergence

simulated = pytest.importorskip("tests.support.simulated_gpu")
launches = pytest.importorskip("tests.support.launches")

# The interpreter of Triton before 3.6
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning")

METRICS: dict[str, Callable[[], Any]] = {
    "sums": lambda: KLDivergence(log_prob=True),
    "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True)),
}
some_metrics = pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)
not_on_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="simulates a GPU")


@pytest.fixture
def _gpu() -> Iterator[None]:
    with np.errstate(all="ignore"), simulated.simulated_gpu():
        yield


def batch(seed: int) -> list[Tensor]:
    return [x.to("cuda") for x in torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(seed)).unbind()]


def state_of(metric: Any) -> Tensor:
    return next(iter(metric.metric_state.values())).cpu()


def address(metric: Any) -> int:
    return metric.owned_tensor.data_ptr()


def updated(make: Callable[[], Any], *seeds: int) -> Any:
    metric = make().to("cuda")
    for seed in seeds:
        metric.update(*batch(seed))
    return metric


@not_on_gpu
@pytest.mark.parametrize("name", launches.CASES)
def test_launches_are_no_more_than_the_documents_say_and_nothing_waits(name: str) -> None:
    case = launches.CASES[name]
    with np.errstate(all="ignore"):
        found = launches.counts(case)
    assert all(x <= limit for x, limit in zip(found, case.limit, strict=True)), found
    assert f"| {name} | {case.limit} |" in (Path(__file__).parents[2] / "docs" / "gpu.md").read_text()


@not_on_gpu
@pytest.mark.usefixtures("_gpu")
@some_metrics
def test_a_replayed_graph_adds_batches_and_values_are_computed_anew(make: Callable[[], Any]) -> None:
    expected, metric, static = updated(make, 1, 2), updated(make, 0), batch(0)
    metric.reset()
    with simulated.captured() as graph:
        metric.update(*static)
    metric.reset()  # the recording was run, a capture is not
    for seed in (1, 2):
        for x, new in zip(static, batch(seed), strict=True):
            x.copy_(new)
        graph.replay()
        metric.compute()
    assert torch.equal(state_of(metric), state_of(expected))
    value = metric.compute()
    assert torch.equal(*(torch.stack([*x.values()]).cpu() if isinstance(x, dict) else x.cpu()
                         for x in (value, expected.compute())))  # fmt: skip


@not_on_gpu
@pytest.mark.usefixtures("_gpu")
@some_metrics
def test_whatever_sets_a_state_keeps_its_address_and_whoever_read_it_sees_no_change(make: Callable[[], Any]) -> None:
    metric, other = updated(make, 0), updated(make, 1, 2)
    here, before = address(metric), metric.metric_state
    kept, twin = state_of(metric), copy.deepcopy(metric)
    metric.update(*batch(1))
    assert torch.equal(next(iter(before.values())).cpu(), kept) and torch.equal(state_of(twin), kept)
    assert not torch.equal(state_of(metric), kept)
    metric.reset()
    metric.merge_state(other)
    assert torch.equal(state_of(metric), state_of(other))
    metric.persistent(True)
    metric.load_state_dict({name: x.clone() for name, x in before.items()})
    metric(*batch(3))
    assert torch.equal(state_of(metric), state_of(updated(make, 0, 3)))
    assert address(metric) == here and address(updated(make, 0)) != here
    assert hash(metric) == hash(metric)


@not_on_gpu
@pytest.mark.usefixtures("_gpu")
@some_metrics
def test_a_metric_that_was_not_updated_refuses_to_be_captured(make: Callable[[], Any]) -> None:
    metric = make().to("cuda")
    with simulated.captured(), pytest.raises(RuntimeError, match="must be updated once before"):
        metric.update(*batch(0))
    assert metric.update_count == 0 and metric.owned_tensor is None


@not_on_gpu
@pytest.mark.usefixtures("_gpu")
def test_an_update_that_is_interrupted_between_two_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = updated(METRICS["statistics"], 0)
    before = state_of(metric)
    launch, count = simulated.state_kernels.launch, []

    def interrupted(*args: Any) -> None:
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        launch(*args)

    monkeypatch.setattr(simulated.state_kernels, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        metric.update(*batch(1))
    assert torch.equal(state_of(metric), before) and metric.update_count == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@some_metrics
def test_a_cuda_graph_adds_batches(make: Callable[[], Any]) -> None:
    expected, metric, static = updated(make, 1, 2), updated(make, 0), batch(0)
    metric.reset()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metric.update(*static)
    for seed in (1, 2):
        for x, new in zip(static, batch(seed), strict=True):
            x.copy_(new)
        graph.replay()
    assert torch.equal(state_of(metric), state_of(expected))
