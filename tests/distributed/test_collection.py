"""Collections on several processes synchronise once and give the bits of one process."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.utilities import distributed as torchmetrics_distributed

from tests.support.collected_metrics import batches, separate_values, some_metrics
from tests.support.helpers import Batch, assert_all_same, assert_same_bits, updated
from tests.support.processes import ProcessPool
from torchdivergence import DivergenceCollection, KLDivergence


def compute_and_count(data: list[Batch], by_metric: bool) -> tuple[dict[str, Tensor], int]:
    """The values, computed one by one or together, and the number of gather operations."""
    calls = []

    def gather(state: Tensor, group: Any = None) -> list[Tensor]:
        calls.append(state.shape)
        return torchmetrics_distributed.gather_all_tensors(state, group)

    collection = DivergenceCollection(some_metrics(log_prob=True, dist_sync_fn=gather))
    for args in data:
        collection.update(*args)
    values = {n: m.compute() for n, m in collection.items()} if by_metric else collection.compute()
    return values, len(calls)


@pytest.mark.parametrize("by_metric", [True, False])
@pytest.mark.parametrize("sizes", [[2, 1], [0, 3]])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # on a rank without rows
def test_a_collection_gathers_once_for_all_metrics(
    two_processes: ProcessPool, by_metric: bool, sizes: list[int]
) -> None:
    data = batches()
    own = [data[: sizes[0]], data[sizes[0] :]]
    for values, gathers in two_processes.run(compute_and_count, own, [by_metric] * two_processes.size):
        assert gathers == 1
        assert_all_same(values, separate_values(data))


def gather_twice(state: Tensor, group: Any = None) -> list[Tensor]:  # noqa: ARG001
    return [state, state]


SYNC_SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "not synchronised": {"sync_on_compute": False},
    "group": {"process_group": [0]},
    "custom gather": {"dist_sync_fn": gather_twice},
    "synced by hand": {"sync_on_compute": False},
}


def compute_mixed(separately: bool, data: list[Batch]) -> dict[str, Tensor]:
    """The values of metrics that synchronise in different ways."""
    metrics = {}
    for name, settings in SYNC_SETTINGS.items():
        group = dist.new_group(settings["process_group"]) if "process_group" in settings else None
        metrics[name] = KLDivergence(log_prob=True, reduction="sum", **settings | {"process_group": group})
    collection: Any = torch.nn.ModuleDict(metrics) if separately else DivergenceCollection(metrics)
    for args in data:
        for metric in collection.values():
            metric.update(*args)
    collection["synced by hand"].sync()
    in_group = dist.get_rank() == 0  # computing raises on ranks outside the group
    return {name: metric.compute() for name, metric in collection.items() if name != "group" or in_group}


def test_metrics_that_synchronise_in_different_ways_keep_their_ways_in_a_collection(two_processes: ProcessPool) -> None:
    data = batches()
    shares = [data[:2], data[2:]]
    apart, together = (two_processes.run(compute_mixed, [separately] * 2, shares) for separately in (True, False))
    for values, expected in zip(together, apart, strict=True):
        assert_all_same(values, expected)


SETTINGS: list[dict[str, Any]] = [
    {"reduction": "mean"},
    {"reduction": "batchmean", "base": 2},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"reduction": "mean", "nan_policy": "omit"},
]


def compute_plain_collection(data: list[Batch]) -> dict[str, Tensor]:
    metrics = MetricCollection({str(s): KLDivergence(log_prob=True, **s) for s in SETTINGS})
    for args in data:
        metrics.update(*args)
    return metrics.compute()


def test_a_plain_collection_gives_each_of_its_metrics_the_bits_of_one_process(two_processes: ProcessPool) -> None:
    data = batches()
    for values in two_processes.run(compute_plain_collection, [data[:2], data[2:]]):
        for settings in SETTINGS:
            expected = updated(KLDivergence(log_prob=True, **settings), data).compute()
            assert_same_bits(values[str(settings)], expected)
