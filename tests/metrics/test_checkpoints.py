"""An epoch that was cut off goes on from its files, with the same bits.

What is supported: each process sets ``persistent(True)`` and saves the ``state_dict`` of its metrics. To resume, on any
number of processes, each saved state is given to exactly one process, which takes it in with ``load_state_dict`` (one
state) or ``merge_state`` (any number). Or, with one file: every process calls ``sync``, rank zero saves, every process
calls ``unsync``; to resume, one process loads the file, and the others start from nothing.
"""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor
from torchmetrics import Metric

from tests.support.divergences import FAMILY, Member
from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence import DivergenceCollection

BATCHES = 7
REDUCTIONS = ["mean", "batchmean", "sum", "none"]
State = dict[str, Any]


def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    p, q = 3 * torch.randn(2, number % 3 + 2, 5, generator=generator)
    return p, q, torch.rand(len(p), generator=generator)


def made(member: Member, reduction: str, log_prob: bool = True) -> Metric:
    metric = member.metric(log_prob=log_prob, reduction=reduction, **member.parameter)
    metric.persistent(True)
    return metric


def fed(metric: Metric, batches: list[int] | range) -> Metric:
    for number in batches:
        metric.update(*batch(number))
    return metric


def family() -> torch.nn.ModuleDict:
    kinds = {f"{i}_{reduction}": (member, reduction) for i, member in enumerate(FAMILY) for reduction in REDUCTIONS}
    return torch.nn.ModuleDict({name: made(*kind) for name, kind in kinds.items()})


def feed_and_die(folder: Path) -> None:
    """Feed metrics, save them after each batch, and be killed when some have had the fifth and half a file is there."""
    metrics = family()
    for number in range(BATCHES):
        for i, metric in enumerate(metrics.values()):
            metric.update(*batch(number))
            if (number, i) == (4, 40):
                (folder / "new.pt").write_bytes((folder / "last.pt").read_bytes()[:5000])
                os.kill(os.getpid(), signal.SIGKILL)
        torch.save({"batches": number + 1, "metrics": metrics.state_dict()}, folder / "new.pt")
        (folder / "new.pt").rename(folder / "last.pt")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a process that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    process = multiprocessing.get_context("spawn").Process(target=feed_and_die, args=(folder,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    return folder


def test_an_epoch_of_a_killed_process_ends_with_the_same_bits(killed: Path) -> None:
    checkpoint, metrics = torch.load(killed / "last.pt"), family()
    assert checkpoint["batches"] == 4
    metrics.load_state_dict(checkpoint["metrics"])
    for name, whole in family().items():
        assert_same_bits(fed(metrics[name], range(4, BATCHES)).compute(), fed(whole, range(BATCHES)).compute())


# A checkpoint of two processes, resumed on one or three


def saved(reduction: str) -> list[State]:
    """The states of this rank, which has every other of the first four batches."""
    return [fed(made(m, reduction), range(dist.get_rank(), 4, 2)).state_dict() for m in FAMILY]


def saved_as_one(reduction: str) -> list[State]:
    """The states of all ranks together; the metric of each rank is its own again afterwards."""
    metrics, states = [fed(made(m, reduction), range(dist.get_rank(), 4, 2)) for m in FAMILY], []
    for metric in metrics:
        metric.sync()
        states.append(metric.state_dict())
        metric.unsync()
    for metric, own in zip(metrics, saved(reduction), strict=True):
        torch.testing.assert_close(metric.state_dict(), own, rtol=0, atol=0)
    return states


def resumed(reduction: str, parts: list[list[State]]) -> list[Tensor]:
    """The values over all ranks, when this one goes on from these parts with its share of the other batches."""
    values = []
    for i, member in enumerate(FAMILY):
        metric = made(member, reduction)
        for part in parts:
            metric.merge_state(part[i])
        values.append(fed(metric, range(4 + dist.get_rank(), BATCHES, dist.get_world_size())).compute())
    return values


@pytest.mark.parametrize("job", [saved, saved_as_one])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_what_two_processes_saved_any_number_may_take_up(
    processes: Ranks, tmp_path: Path, reduction: str, size: int, job: Callable[[str], list[State]]
) -> None:
    processes.resize(2)
    torch.save(processes.run(job, [reduction] * 2), tmp_path / "checkpoint.pt")
    parts = torch.load(tmp_path / "checkpoint.pt")[: 2 if job is saved else 1]
    processes.resize(size)
    shares = [parts[rank::size] for rank in range(size)]
    order = [batch for part in range(size) for batch in after(part, size, job)]
    for values in processes.run(resumed, [reduction] * size, shares):
        for value, member in zip(values, FAMILY, strict=True):
            assert_same_bits(value, fed(made(member, reduction), order).compute())


def after(rank: int, size: int, job: Callable[[str], list[State]]) -> list[int]:
    """The batches of a resumed rank, in the order of its rows: those that were saved, and then its own."""
    parts = [[0, 2], [1, 3]] if job is saved else [[0, 2, 1, 3]]
    return [*(batch for part in parts[rank::size] for batch in part), *range(4 + rank, BATCHES, size)]


def test_a_collection_goes_on_from_its_file(tmp_path: Path) -> None:
    def collection() -> DivergenceCollection:
        return DivergenceCollection(dict(family().items()))

    first = collection()
    for number in range(4):
        first.update(*batch(number))
    torch.save(first.state_dict(), tmp_path / "checkpoint.pt")
    second = collection()
    second.load_state_dict(torch.load(tmp_path / "checkpoint.pt"))
    for number in range(4, BATCHES):
        second.update(*batch(number))
    values = second.compute()
    for name, metric in family().items():
        assert_same_bits(values[name], fed(metric, range(BATCHES)).compute())


# Files that are no checkpoint of this metric


def assert_goes_on(metric: Metric, member: Member, reduction: str) -> None:
    """Whether a metric that has had two batches has them still."""
    assert metric.update_count == 2
    assert_same_bits(metric.compute(), fed(made(member, reduction), range(2)).compute())
    assert_same_bits(fed(metric, [2]).compute(), fed(made(member, reduction), range(3)).compute())


@pytest.mark.parametrize("kept", [0, 1, 5000, -1])
def test_a_truncated_file_is_no_checkpoint(killed: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.pt").write_bytes((killed / "last.pt").read_bytes()[:kept])
    metric = fed(made(FAMILY[0], "mean"), range(2))
    with pytest.raises((EOFError, OSError, RuntimeError, pickle.UnpicklingError)):
        metric.load_state_dict(torch.load(tmp_path / "cut.pt")["metrics"])
    assert_goes_on(metric, FAMILY[0], "mean")


FOREIGN: dict[str, Callable[[Member, str], State]] = {
    "another divergence": lambda member, reduction: made(FAMILY[FAMILY.index(member) - 3], reduction).state_dict(),
    "other input": lambda member, reduction: made(member, reduction, log_prob=False).state_dict(),
    "other rows": lambda member, reduction: made(member, "mean" if reduction == "none" else "none").state_dict(),
    "of a module": lambda member, reduction: made(member, reduction).state_dict(prefix="val_kl."),
    "weights": lambda *_: torch.nn.Linear(2, 2).state_dict(),
    "torchmetrics": lambda *_: torchmetrics.KLDivergence().metric_state,
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("member", FAMILY, ids=str)
def test_a_foreign_checkpoint_is_refused_and_changes_nothing(
    member: Member, reduction: str, foreign: Callable[[Member, str], State]
) -> None:
    metric, state = fed(made(member, reduction), range(2)), foreign(member, reduction)
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict for \w+:\n\s+(Missing|Unexpected) key"):
        metric.load_state_dict(state)
    with pytest.raises(ValueError, match=r"merge_state needs the state '.*there is no such state: the incoming states"):
        metric.merge_state(state)
    assert_goes_on(metric, member, reduction)
