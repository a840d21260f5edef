"""Three processes together give the bits of one process that has all the rows."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence import KLDivergence

SIZE = 3
Batch = tuple[Tensor, ...]

SETTINGS = [
    {"reduction": "mean"},
    {"reduction": "batchmean", "base": 2},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"reduction": "mean", "nan_policy": "omit"},
]
SHARES = {  # for each rank, the number of rows in each of its batches
    "uneven": [[4, 1, 4], [2], [1, 1]],
    "one rank has nothing": [[3, 4], [], [6]],
    "only the last has rows": [[], [], [5, 8]],
    "a rank has only empty batches": [[6], [0, 0], [7]],
}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(scope="module")
def pool(processes: Ranks) -> Ranks:
    processes.resize(SIZE)
    return processes


def batch(rows: int, seed: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Logits and weights; some weights are zero."""
    generator = torch.Generator().manual_seed(seed)
    p = 3 * torch.randn(rows, 7, generator=generator)
    q = p + torch.randn(rows, 7, generator=generator) * 10 ** (4 * torch.rand(rows, 1, generator=generator) - 3)
    return p.to(dtype), q.to(dtype), torch.randint(0, 4, (rows,), generator=generator) / 3


def shares(sizes: list[list[int]]) -> list[list[Batch]]:
    return [[batch(rows, 10 * rank + i) for i, rows in enumerate(own)] for rank, own in enumerate(sizes)]


def fed(batches: list[Batch], **settings: Any) -> KLDivergence:
    metric = KLDivergence(log_prob=True, **settings)
    for args in batches:
        metric.update(*args)
    return metric


def alone(batches: list[list[Batch]], **settings: Any) -> Tensor:
    """The value in this process, which takes the batches of all ranks in their order."""
    return fed([args for own in batches for args in own], **settings).compute()


# Jobs, which run on each rank


def computed(settings: dict[str, Any], batches: list[Batch]) -> tuple[Tensor, Tensor]:
    """The value over all ranks, and then, the metric being this rank's own again, that over its own rows."""
    metric = fed(batches, **settings)
    together = metric.compute()
    own = fed([], sync_on_compute=False, **settings)
    own.merge_state(metric)
    return together, own.compute()


def refused(settings: dict[str, Any], batches: list[Batch]) -> tuple[str, int, Tensor]:
    """What ``compute`` raises, how many invalid rows are this rank's own, and the value after one more start."""
    metric = fed(batches, nan_policy="raise", **settings)
    with pytest.raises(ValueError, match="nan_policy") as error:
        metric.compute()
    invalid = metric.n_invalid
    metric.reset()
    for _, q, *_ in batches:
        metric.update(q, q.roll(1, -1))
    return str(error.value), invalid, metric.compute()


def stepped(settings: dict[str, Any], batches: list[Batch]) -> tuple[list[Tensor], Tensor]:
    """What ``forward`` returns step by step when it speaks for all ranks, and the value in the end."""
    metric = KLDivergence(log_prob=True, dist_sync_on_step=True, **settings)
    return [metric(*args) for args in batches], metric.compute()


def synced_by_hand(settings: dict[str, Any], first: Batch, second: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The rank's own value, that of all ranks, and its own after one more batch."""
    metric = fed([first], sync_on_compute=False, compute_with_cache=False, **settings)
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
    together = metric.compute()  # which un-syncs
    metric.update(*second)
    return own, together, metric.compute()


def handed_in(metric: KLDivergence, args: Batch) -> Tensor:
    """The value of a metric that comes from another process; its state lies in memory that the ranks share."""
    metric.update(*args)
    return metric.compute()


def collected(batches: list[Batch]) -> dict[str, Tensor]:
    metrics = MetricCollection({str(s): KLDivergence(log_prob=True, **s) for s in SETTINGS})
    for args in batches:
        metrics.update(*args)
    return metrics.compute()


# Laws


@pytest.mark.parametrize("sizes", SHARES.values(), ids=SHARES.keys())
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_any_share_of_the_rows_gives_the_bits_of_one_process(pool: Ranks, settings: dict, sizes: list) -> None:
    batches = shares(sizes)
    for own, (together, afterwards) in zip(batches, pool.run(computed, [settings] * SIZE, batches), strict=True):
        assert_same_bits(together, alone(batches, **settings))
        assert_same_bits(afterwards, alone([own or [batch(0, 0)]], **settings))


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_ranks_may_have_different_dtypes(pool: Ranks, settings: dict, first: int) -> None:
    batches = [[batch(3, rank, DTYPES[(first + rank) % 4])] for rank in range(SIZE)]
    for together, _ in pool.run(computed, [settings] * SIZE, batches):
        assert_same_bits(together, alone(batches, **settings))


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_an_invalid_row_of_one_rank_stops_every_rank_and_only_once(pool: Ranks, reduction: str) -> None:
    batches = [[batch(2, rank)[:2]] for rank in range(SIZE)]
    batches[1][0][0][0, 0] = float("nan")
    settings = {"reduction": reduction}
    mended = alone([[(q, q.roll(1, -1))] for [(_, q)] in batches], **settings)
    for rank, (message, own, value) in enumerate(pool.run(refused, [settings] * SIZE, batches)):
        assert "found in 1 of them" in message
        assert own == (rank == 1)
        assert_same_bits(value, mended)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_forward_speaks_for_all_ranks_if_it_is_told_to(pool: Ranks, settings: dict) -> None:
    batches = shares([[3, 2], [1, 4], [2, 2]])
    for steps, together in pool.run(stepped, [settings] * SIZE, batches):
        for step, value in enumerate(steps):
            assert_same_bits(value, alone([[own[step]] for own in batches], **settings))
        assert_same_bits(together, alone(batches, **settings))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_metric_synced_by_hand_is_that_of_all_until_it_is_unsynced(pool: Ranks, settings: dict) -> None:
    batches = shares([[3, 2], [1, 4], [2, 2]])
    answers = pool.run(synced_by_hand, [settings] * SIZE, *map(list, zip(*batches, strict=True)))
    for own, (before, together, afterwards) in zip(batches, answers, strict=True):
        assert_same_bits(before, alone([own[:1]], **settings))
        assert_same_bits(together, alone([own[:1] for own in batches], **settings))
        assert_same_bits(afterwards, alone([own], **settings))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_states_in_shared_memory_stay_apart(pool: Ranks, settings: dict) -> None:
    batches = [batch(2, rank) for rank in range(SIZE)]
    metric = KLDivergence(log_prob=True, **settings)
    for value in pool.run(handed_in, [metric] * SIZE, batches):
        assert_same_bits(value, alone([batches], **settings))


def test_a_collection_gives_each_of_its_metrics_the_bits_of_one_process(pool: Ranks) -> None:
    batches = shares([[3, 2], [1, 4], [2]])
    for values in pool.run(collected, batches):
        for settings in SETTINGS:
            assert_same_bits(values[str(settings)], alone(batches, **settings))
