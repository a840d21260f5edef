"""One to four processes give the bits of one process, for every divergence and any split of the rows."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support.divergences import DIVERGENCES, Divergence
from tests.support.helpers import assert_same_bits
from tests.support.processes import ProcessPool
from torchdivergence import DivergenceCollection

ITEMS, STEPS = 23, 3
SETTINGS: list[dict[str, Any]] = [
    *({"reduction": reduction} for reduction in ("mean", "batchmean", "sum", "none")),
    {"reduction": "mean", "nan_policy": "omit"},
]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
GROUPS = [[2], [0, 3], [3, 1, 2], [0, 1, 2, 3]]


class Share(NamedTuple):
    """What one process is given: the items of its batches, their dtype and the shape of an item."""

    steps: list[list[int]]
    dtype: torch.dtype
    shape: tuple[int, ...]

    def batch(self, step: int, invalid: bool) -> tuple[Tensor, Tensor, Tensor]:
        p, q, weights = (x[self.steps[step]] for x in items(invalid))
        shape = (len(p), *self.shape)
        p, q = (x.to(self.dtype).view(*shape, x.shape[-1]) for x in (p, q))
        return p, q, weights.view(shape)


@functools.cache
def items(invalid: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Items of two rows each: p near q, far from q or equal to it. All dtypes represent their 8-bit numbers exactly."""
    generator = torch.Generator().manual_seed(0)
    p = torch.randint(-200, 201, (ITEMS, 2, 6), generator=generator)
    noise = torch.randint(-55, 56, p.shape, generator=generator)
    q = p + noise // torch.tensor([1, 8, 55, 500]).repeat(ITEMS)[:ITEMS, None, None]
    p, q, weights = p / 16.0, q / 16.0, torch.randint(0, 4, (ITEMS, 2), generator=generator) / 3
    if invalid:
        p[5, 1, 2], weights[5, 1] = torch.nan, 1.0
    return p, q, weights


def split(size: int, seed: int) -> list[Share]:
    """Assign each item to a random batch of a random rank; if the seed is odd, one rank gets none."""
    generator = torch.Generator().manual_seed(100 * size + seed)
    ranks = [rank for rank in range(size) if size == 1 or seed % 2 == 0 or rank != seed // 2 % size]
    steps: list[list[list[int]]] = [[[] for _ in range(STEPS)] for _ in range(size)]
    for item in torch.randperm(ITEMS, generator=generator).tolist():
        rank, step = (int(torch.randint(n, (), generator=generator)) for n in (len(ranks), STEPS))
        steps[ranks[rank]][step].append(item)
    shapes = [(2,), (1, 2), (2, 1)]
    return [Share(own, DTYPES[(rank + seed) % 4], shapes[(rank + seed) % 3]) for rank, own in enumerate(steps)]


def make(divergence: Divergence, settings: dict[str, Any]) -> Any:
    return divergence.make(log_prob=True, **settings)


def after_steps(divergence: Divergence, settings: dict[str, Any], share: Share, steps: range = range(STEPS)) -> Any:
    """The metric after these steps; a rank without items is never updated."""
    metric = make(divergence, settings)
    for step in steps if any(share.steps) else ():
        metric.update(*share.batch(step, "nan_policy" in settings))
    return metric


def in_one_batch(
    divergences: list[Divergence], settings: dict[str, Any], shares: list[Share], steps: range = range(STEPS)
) -> list[Tensor]:
    """The value of each divergence in this process, for all rows as one batch."""
    order = [item for share in shares for step in steps for item in share.steps[step]]
    batch = Share([order], torch.float64, (2,))
    return [after_steps(divergence, settings, batch, range(1)).compute() for divergence in divergences]


def assert_each_same(values: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for value, truth in zip(values, expected, strict=True):
        assert_same_bits(value, truth)


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids="{} ranks".format)
def pool(request: pytest.FixtureRequest, processes: ProcessPool) -> ProcessPool:
    processes.resize(request.param)
    return processes


@pytest.fixture(scope="module")
def some(pool: ProcessPool) -> list[Divergence]:
    """A quarter of the divergences for each number of processes, since the combination does not matter."""
    return DIVERGENCES[pool.size - 1 :: 4]


@pytest.fixture(scope="module")
def four(processes: ProcessPool) -> ProcessPool:
    processes.resize(4)
    return processes


# Jobs, which run on each rank


def compute_metrics(settings: dict[str, Any], share: Share) -> list[Tensor]:
    return [after_steps(divergence, settings, share).compute() for divergence in DIVERGENCES]


def compute_collection(settings: dict[str, Any], share: Share) -> list[Tensor]:
    collection = DivergenceCollection(
        {f"{i:02}": make(divergence, settings) for i, divergence in enumerate(DIVERGENCES)}
    )
    for step in range(STEPS):
        collection.update(*share.batch(step, "nan_policy" in settings))
    return list(collection.compute().values())


def forward_and_compute(divergences: list[Divergence], settings: dict[str, Any], share: Share) -> list[list[Tensor]]:
    """The values that ``forward`` returns for all ranks at each step, and the final value."""
    values = []
    for divergence in divergences:
        metric = make(divergence, settings | {"dist_sync_on_step": True})
        steps = [metric(*share.batch(step, "nan_policy" in settings)) for step in range(STEPS)]
        values.append([*steps, metric.compute()])
    return values


def sync_by_hand(divergences: list[Divergence], settings: dict[str, Any], share: Share) -> list[list[Tensor]]:
    """The rank's own value, the value of all ranks, its own again, and its own after another batch."""
    values = []
    for divergence in divergences:
        metric = after_steps(
            divergence, settings | {"sync_on_compute": False, "compute_with_cache": False}, share, range(2)
        )
        before = metric.compute()
        metric.sync()
        synced = metric.metric_state
        metric.unsync()
        everything = make(divergence, settings | {"sync_on_compute": False})
        everything.merge_state(synced)
        again = metric.compute()
        metric.update(*share.batch(2, "nan_policy" in settings))
        values.append([before, everything.compute(), again, metric.compute()])
    return values


def compute_in_group(
    ranks: list[int], divergences: list[Divergence], settings: dict[str, Any], share: Share
) -> list[tuple[Tensor | None, Tensor]]:
    """The value over the group if this rank belongs to it, and this rank's own value."""
    group, values = dist.new_group(ranks), []
    for divergence in divergences:
        metric = after_steps(divergence, settings | {"process_group": group}, share)
        value = None
        if dist.get_rank() in ranks:
            value = metric.compute()
        else:
            with pytest.raises(RuntimeError), pytest.warns(UserWarning, match="does not belong to the given group"):
                metric.compute()
        own = make(divergence, settings | {"sync_on_compute": False})
        own.merge_state(metric)
        values.append((value, own.compute()))
    return values


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_any_split_over_processes_gives_the_bits_of_one_batch(pool: ProcessPool, settings: dict[str, Any]) -> None:
    shares = split(pool.size, pool.size + SETTINGS.index(settings))
    expected = in_one_batch(DIVERGENCES, settings, shares)
    for job in (compute_metrics, compute_collection):
        for values in pool.run(job, [settings] * pool.size, shares):
            assert_each_same(values, expected)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_forward_with_dist_sync_on_step_returns_the_value_of_all_processes(
    pool: ProcessPool, some: list[Divergence], settings: dict[str, Any]
) -> None:
    shares = split(pool.size, 2)
    spans = [*(range(step, step + 1) for step in range(STEPS)), range(STEPS)]
    expected = [in_one_batch(some, settings, shares, span) for span in spans]
    for answers in pool.run(forward_and_compute, [some] * pool.size, [settings] * pool.size, shares):
        for values, truths in zip(zip(*answers, strict=True), expected, strict=True):
            assert_each_same(values, truths)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # on a rank without rows
def test_a_metric_synced_by_hand_has_its_own_value_before_and_after(
    pool: ProcessPool, some: list[Divergence], settings: dict[str, Any]
) -> None:
    shares = split(pool.size, 3)
    everything = in_one_batch(some, settings, shares, range(2))
    answers = pool.run(sync_by_hand, [some] * pool.size, [settings] * pool.size, shares)
    for share, values in zip(shares, answers, strict=True):
        before, synced, again, after = zip(*values, strict=True)
        own = in_one_batch(some, settings, [share], range(2))
        for found, truth in [(before, own), (synced, everything), (again, own)]:
            assert_each_same(found, truth)
        assert_each_same(after, in_one_batch(some, settings, [share]))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("settings", [SETTINGS[2], SETTINGS[3]], ids=str)  # one with each kind of state
def test_a_process_group_has_the_value_of_its_rows_and_other_processes_do_not_wait(
    four: ProcessPool, settings: dict[str, Any], group: list[int]
) -> None:
    shares, some = split(4, 4), DIVERGENCES[len(group) - 1 :: 4]
    expected = in_one_batch(some, settings, [shares[rank] for rank in sorted(group)])
    for rank, answers in enumerate(four.run(compute_in_group, [group] * 4, [some] * 4, [settings] * 4, shares)):
        values, own = zip(*answers, strict=True)
        assert_each_same(own, in_one_batch(some, settings, [shares[rank]]))
        if rank in group:
            assert_each_same(values, expected)
