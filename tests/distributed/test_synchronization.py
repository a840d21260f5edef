"""Synchronisation over three processes: uneven shares of the rows, invalid rows, sync and unsync, shared memory."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from tests.support.helpers import Batch, assert_same_bits, updated
from tests.support.processes import ProcessPool
from torchdivergence import KLDivergence

SIZE = 3

SETTINGS: list[dict[str, Any]] = [
    {"reduction": "mean"},
    {"reduction": "batchmean", "base": 2},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"reduction": "mean", "nan_policy": "omit"},
]
SHARES = {  # for each rank, the number of rows in each of its batches
    "uneven": [[4, 1, 4], [2], [1, 1]],
    "one rank without batches": [[3, 4], [], [6]],
    "all rows on the last rank": [[], [], [5, 8]],
    "one rank with empty batches": [[6], [0, 0], [7]],
}
all_settings = pytest.mark.parametrize("settings", SETTINGS, ids=str)


@pytest.fixture(scope="module")
def pool(processes: ProcessPool) -> ProcessPool:
    processes.resize(SIZE)
    return processes


def batch(rows: int, seed: int) -> Batch:
    """Logits and weights; some weights are zero."""
    generator = torch.Generator().manual_seed(seed)
    p = 3 * torch.randn(rows, 7, generator=generator)
    q = p + torch.randn(rows, 7, generator=generator) * 10 ** (4 * torch.rand(rows, 1, generator=generator) - 3)
    return p, q, torch.randint(0, 4, (rows,), generator=generator) / 3


def shares(sizes: list[list[int]]) -> list[list[Batch]]:
    return [[batch(rows, 10 * rank + i) for i, rows in enumerate(own)] for rank, own in enumerate(sizes)]


def kl_after_batches(batches: list[Batch], **settings: Any) -> Any:
    return updated(KLDivergence(log_prob=True, **settings), batches)


def in_one_process(batches: list[list[Batch]], **settings: Any) -> Tensor:
    """The value in this process, with the batches of all ranks in their order."""
    return kl_after_batches([args for own in batches for args in own], **settings).compute()


# Jobs, which run on each rank


def compute(settings: dict[str, Any], batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """The value over all ranks, and afterwards the value of this rank's own rows."""
    metric = kl_after_batches(batches, **settings)
    together = metric.compute()
    own = kl_after_batches([], sync_on_compute=False, **settings)
    own.merge_state(metric)
    return together, own.compute()


def compute_invalid(settings: dict[str, Any], batches: list[Batch]) -> tuple[str, int, Tensor]:
    """The error of ``compute``, this rank's number of invalid rows, and the value after a reset and valid batches."""
    metric = kl_after_batches(batches, nan_policy="raise", **settings)
    with pytest.raises(ValueError, match="nan_policy") as error:
        metric.compute()
    invalid = metric.n_invalid
    metric.reset()
    for _, q, *_ in batches:
        metric.update(q, q.roll(1, -1))
    return str(error.value), invalid, metric.compute()


def sync_and_unsync(settings: dict[str, Any], first: Batch, second: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The rank's own value, the value over all ranks, and its own value after one more batch."""
    metric = kl_after_batches([first], sync_on_compute=False, compute_with_cache=False, **settings)
    own = metric.compute()
    metric.sync()
    with pytest.raises(TorchMetricsUserError, match="already been synced"):
        metric.sync()
    with pytest.raises(TorchMetricsUserError, match="shouldn't be synced"):
        metric(*second)
    metric.unsync()
    with pytest.raises(TorchMetricsUserError, match="already been un-synced"):
        metric.unsync()
    metric.sync()
    together = metric.compute()  # which unsyncs
    metric.update(*second)
    return own, together, metric.compute()


def update_and_compute(metric: KLDivergence, args: Batch) -> Tensor:
    """Use a metric of another process, whose state lies in memory shared by the ranks."""
    metric.update(*args)
    return metric.compute()


@pytest.mark.parametrize("sizes", SHARES.values(), ids=SHARES.keys())
@all_settings
def test_uneven_shares_of_the_rows_give_the_bits_of_one_process(
    pool: ProcessPool, settings: dict[str, Any], sizes: list[list[int]]
) -> None:
    batches = shares(sizes)
    for own, (together, afterwards) in zip(batches, pool.run(compute, [settings] * SIZE, batches), strict=True):
        assert_same_bits(together, in_one_process(batches, **settings))
        assert_same_bits(afterwards, in_one_process([own or [batch(0, 0)]], **settings))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_an_invalid_row_on_one_rank_raises_on_every_rank_until_reset(pool: ProcessPool, reduction: str) -> None:
    batches = [[batch(2, rank)[:2]] for rank in range(SIZE)]
    batches[1][0][0][0, 0] = float("nan")
    settings = {"reduction": reduction}
    valid = in_one_process([[(q, q.roll(1, -1))] for [(_, q)] in batches], **settings)
    for rank, (message, own, value) in enumerate(pool.run(compute_invalid, [settings] * SIZE, batches)):
        assert "number of invalid rows is 1" in message
        assert own == (rank == 1)
        assert_same_bits(value, valid)


@all_settings
def test_a_synced_metric_has_the_value_of_all_ranks_and_refuses_batches(
    pool: ProcessPool, settings: dict[str, Any]
) -> None:
    batches = shares([[3, 2], [1, 4], [2, 2]])
    answers = pool.run(sync_and_unsync, [settings] * SIZE, *map(list, zip(*batches, strict=True)))
    for own, (before, together, afterwards) in zip(batches, answers, strict=True):
        assert_same_bits(before, in_one_process([own[:1]], **settings))
        assert_same_bits(together, in_one_process([own[:1] for own in batches], **settings))
        assert_same_bits(afterwards, in_one_process([own], **settings))


@all_settings
def test_metrics_in_shared_memory_do_not_affect_each_other(pool: ProcessPool, settings: dict[str, Any]) -> None:
    batches = [batch(2, rank) for rank in range(SIZE)]
    metric = KLDivergence(log_prob=True, **settings)
    for value in pool.run(update_and_compute, [metric] * SIZE, batches):
        assert_same_bits(value, in_one_process([batches], **settings))
