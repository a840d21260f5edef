"""Checkpoints of two processes, resumed on any number of processes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support.checkpoints import BATCHES, REDUCTIONS, State, after_batches, make
from tests.support.divergences import DIVERGENCES
from tests.support.helpers import assert_same_bits
from tests.support.processes import ProcessPool


def save(reduction: str) -> list[State]:
    """The states of this rank, which is given every other of the first four batches."""
    return [after_batches(make(m, reduction), range(dist.get_rank(), 4, 2)).state_dict() for m in DIVERGENCES]


def save_as_one(reduction: str) -> list[State]:
    """The states of all ranks together; afterwards each metric has the state of its own rank again."""
    metrics, states = [after_batches(make(m, reduction), range(dist.get_rank(), 4, 2)) for m in DIVERGENCES], []
    for metric in metrics:
        metric.sync()
        states.append(metric.state_dict())
        metric.unsync()
    for metric, own in zip(metrics, save(reduction), strict=True):
        torch.testing.assert_close(metric.state_dict(), own, rtol=0, atol=0)
    return states


def resume(reduction: str, parts: list[list[State]]) -> list[Tensor]:
    """The values over all ranks; this rank resumes from these parts and is given its share of the other batches."""
    values = []
    for i, divergence in enumerate(DIVERGENCES):
        metric = make(divergence, reduction)
        for part in parts:
            metric.merge_state(part[i])
        values.append(after_batches(metric, range(4 + dist.get_rank(), BATCHES, dist.get_world_size())).compute())
    return values


@pytest.mark.parametrize("job", [save, save_as_one])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_any_number_of_processes_may_resume_from_the_states_of_two(
    processes: ProcessPool, tmp_path: Path, reduction: str, size: int, job: Callable[[str], list[State]]
) -> None:
    processes.resize(2)
    torch.save(processes.run(job, [reduction] * 2), tmp_path / "checkpoint.pt")
    parts = torch.load(tmp_path / "checkpoint.pt")[: 2 if job is save else 1]
    processes.resize(size)
    shares = [parts[rank::size] for rank in range(size)]
    order = [batch for part in range(size) for batch in after(part, size, job)]
    for values in processes.run(resume, [reduction] * size, shares):
        for value, divergence in zip(values, DIVERGENCES, strict=True):
            assert_same_bits(value, after_batches(make(divergence, reduction), order).compute())


def after(rank: int, size: int, job: Callable[[str], list[State]]) -> list[int]:
    """The batches of a resumed rank, in the order of its rows: the saved ones and then its own."""
    parts = [[0, 2], [1, 3]] if job is save else [[0, 2, 1, 3]]
    return [*(batch for part in parts[rank::size] for batch in part), *range(4 + rank, BATCHES, size)]
