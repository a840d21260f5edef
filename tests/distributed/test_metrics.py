"""One to four processes give the bits of one, for every divergence, however the rows are split among them."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from tests.support.divergences import FAMILY, Member
from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence import DivergenceCollection

ITEMS, STEPS = 23, 3
SETTINGS: list[dict[str, Any]] = [
    *({"reduction": reduction} for reduction in ("mean", "batchmean", "sum", "none")),
    {"reduction": "mean", "nan_policy": "omit"},
]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
GROUPS = [[2], [0, 3], [3, 1, 2], [0, 1, 2, 3]]


class Share(NamedTuple):
    """What one process takes: the items of its batches, and how it writes them down."""

    steps: list[list[int]]
    dtype: torch.dtype
    shape: tuple[int, ...]

    def batch(self, step: int, spoilt: bool) -> tuple[Tensor, Tensor, Tensor]:
        p, q, weights = (x[self.steps[step]] for x in problem(spoilt))
        shape = (len(p), *self.shape)
        return *(x.to(self.dtype).view(*shape, p.shape[-1]) for x in (p, q)), weights.view(shape)


@functools.cache
def problem(spoilt: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Items of two rows each: near rows, far rows, equal rows. All dtypes can hold their numbers, which have 8 bits."""
    generator = torch.Generator().manual_seed(0)
    p = torch.randint(-200, 201, (ITEMS, 2, 6), generator=generator)
    noise = torch.randint(-55, 56, p.shape, generator=generator)
    q = p + noise // torch.tensor([1, 8, 55, 500]).repeat(ITEMS)[:ITEMS, None, None]
    p, q, weights = p / 16.0, q / 16.0, torch.randint(0, 4, (ITEMS, 2), generator=generator) / 3
    if spoilt:
        p[5, 1, 2], weights[5, 1] = torch.nan, 1.0
    return p, q, weights


def split(size: int, seed: int) -> list[Share]:
    """Each item goes to any batch of any rank; with an odd seed, one rank gets none."""
    generator = torch.Generator().manual_seed(100 * size + seed)
    ranks = [rank for rank in range(size) if size == 1 or seed % 2 == 0 or rank != seed // 2 % size]
    steps: list[list[list[int]]] = [[[] for _ in range(STEPS)] for _ in range(size)]
    for item in torch.randperm(ITEMS, generator=generator).tolist():
        rank, step = (int(torch.randint(n, (), generator=generator)) for n in (len(ranks), STEPS))
        steps[ranks[rank]][step].append(item)
    shapes = [(2,), (1, 2), (2, 1)]
    return [Share(own, DTYPES[(rank + seed) % 4], shapes[(rank + seed) % 3]) for rank, own in enumerate(steps)]


def made(member: Member, settings: dict[str, Any]) -> Metric:
    return member.metric(log_prob=True, **member.parameter, **settings)


def fed(member: Member, settings: dict[str, Any], share: Share, steps: range = range(STEPS)) -> Metric:
    """The metric after these steps; a rank that has no items makes none."""
    metric = made(member, settings)
    for step in steps if any(share.steps) else ():
        metric.update(*share.batch(step, "nan_policy" in settings))
    return metric


def in_one_batch(
    members: list[Member], settings: dict[str, Any], shares: list[Share], steps: range = range(STEPS)
) -> list[Tensor]:
    """The value of each divergence in this process, which takes the rows of all shares at once."""
    order = [item for share in shares for step in steps for item in share.steps[step]]
    batch = Share([order], torch.float64, (2,))
    return [fed(member, settings, batch, range(1)).compute() for member in members]


def assert_all_same(values: list[Tensor], expected: list[Tensor]) -> None:
    for value, truth in zip(values, expected, strict=True):
        assert_same_bits(value, truth)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The ranks, too, have one thread each; more would wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids="{} ranks".format)
def pool(request: pytest.FixtureRequest, processes: Ranks) -> Ranks:
    processes.resize(request.param)
    return processes


@pytest.fixture(scope="module")
def some(pool: Ranks) -> list[Member]:
    """A quarter of the family for each number of processes: what each member does here does not depend on it."""
    return FAMILY[pool.size - 1 :: 4]


@pytest.fixture(scope="module")
def four(processes: Ranks) -> Ranks:
    processes.resize(4)
    return processes


# Jobs, which run on each rank


def together(settings: dict[str, Any], share: Share) -> list[Tensor]:
    return [fed(member, settings, share).compute() for member in FAMILY]


def collected(settings: dict[str, Any], share: Share) -> list[Tensor]:
    collection = DivergenceCollection({f"{i:02}": made(member, settings) for i, member in enumerate(FAMILY)})
    for step in range(STEPS):
        collection.update(*share.batch(step, "nan_policy" in settings))
    return list(collection.compute().values())


def stepped(members: list[Member], settings: dict[str, Any], share: Share) -> list[list[Tensor]]:
    """What ``forward`` says of all ranks at each step, and the value in the end."""
    values = []
    for member in members:
        metric = made(member, settings | {"dist_sync_on_step": True})
        steps = [metric(*share.batch(step, "nan_policy" in settings)) for step in range(STEPS)]
        values.append([*steps, metric.compute()])
    return values


def synced_by_hand(members: list[Member], settings: dict[str, Any], share: Share) -> list[list[Tensor]]:
    """The rank's own value, that of all, its own once more, and its own with the batches after."""
    values = []
    for member in members:
        metric = fed(member, settings | {"sync_on_compute": False, "compute_with_cache": False}, share, range(2))
        before = metric.compute()
        metric.sync()
        synced = metric.metric_state
        metric.unsync()
        everything = made(member, settings | {"sync_on_compute": False})
        everything.merge_state(synced)
        again = metric.compute()
        metric.update(*share.batch(2, "nan_policy" in settings))
        values.append([before, everything.compute(), again, metric.compute()])
    return values


def grouped(
    ranks: list[int], members: list[Member], settings: dict[str, Any], share: Share
) -> list[tuple[Tensor | None, Tensor]]:
    """The value over the group, if this rank is in it, and this rank's own value."""
    group, values = dist.new_group(ranks), []
    for member in members:
        metric = fed(member, settings | {"process_group": group}, share)
        value = None
        if dist.get_rank() in ranks:
            value = metric.compute()
        else:
            with pytest.raises(RuntimeError), pytest.warns(UserWarning, match="does not belong to the given group"):
                metric.compute()
        own = made(member, settings | {"sync_on_compute": False})
        own.merge_state(metric)
        values.append((value, own.compute()))
    return values


# Laws


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_any_split_over_processes_gives_the_bits_of_one_batch(pool: Ranks, settings: dict) -> None:
    shares = split(pool.size, pool.size + SETTINGS.index(settings))
    expected = in_one_batch(FAMILY, settings, shares)
    for job in (together, collected):
        for values in pool.run(job, [settings] * pool.size, shares):
            assert_all_same(values, expected)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_forward_speaks_for_all_processes_if_it_is_told_to(pool: Ranks, some: list[Member], settings: dict) -> None:
    shares = split(pool.size, 2)
    spans = [*(range(step, step + 1) for step in range(STEPS)), range(STEPS)]
    expected = [in_one_batch(some, settings, shares, span) for span in spans]
    for answers in pool.run(stepped, [some] * pool.size, [settings] * pool.size, shares):
        for values, truths in zip(zip(*answers, strict=True), expected, strict=True):
            assert_all_same(values, truths)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # of a rank without rows
def test_a_metric_synced_by_hand_has_its_own_value_before_and_after(
    pool: Ranks, some: list[Member], settings: dict
) -> None:
    shares = split(pool.size, 3)
    everything = in_one_batch(some, settings, shares, range(2))
    answers = pool.run(synced_by_hand, [some] * pool.size, [settings] * pool.size, shares)
    for share, values in zip(shares, answers, strict=True):
        before, synced, again, after = zip(*values, strict=True)
        own = in_one_batch(some, settings, [share], range(2))
        for found, truth in [(before, own), (synced, everything), (again, own)]:
            assert_all_same(found, truth)
        assert_all_same(after, in_one_batch(some, settings, [share]))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("settings", [SETTINGS[2], SETTINGS[3]], ids=str)  # one for each kind of state
def test_a_group_of_processes_has_the_value_of_its_rows_and_the_others_do_not_wait(
    four: Ranks, settings: dict, group: list[int]
) -> None:
    shares, some = split(4, 4), FAMILY[len(group) - 1 :: 4]
    expected = in_one_batch(some, settings, [shares[rank] for rank in sorted(group)])
    for rank, answers in enumerate(four.run(grouped, [group] * 4, [some] * 4, [settings] * 4, shares)):
        values, own = zip(*answers, strict=True)
        assert_all_same(own, in_one_batch(some, settings, [shares[rank]]))
        if rank in group:
            assert_all_same(values, expected)
