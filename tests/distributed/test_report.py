"""Reports and statistics on several processes give the bits of one process."""

import pytest
from torch import Tensor

from tests.support.processes import ProcessPool
from tests.support.reports import MAKE, Numbers, after_texts, arguments, short_texts

P99 = {"report": "kl_p99", "statistics": "p99"}


def compute(name: str, texts: tuple[Tensor, ...]) -> Numbers:
    metric = after_texts(name, texts)
    first = metric[P99[name]].compute().item()  # this synchronises all values
    return metric.to_dict() | {"first": first}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("shares", [[6], [5, 1], [2, 4, 0], [0, 1, 5], [1, 2, 0, 3]], ids=str)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # on a rank without rows
def test_several_processes_give_a_report_of_the_same_bits(processes: ProcessPool, name: str, shares: list[int]) -> None:
    processes.resize(len(shares))
    parts = list(zip(*(x.split(shares) for x in short_texts()), strict=True))
    expected = after_texts(name, short_texts()).to_dict()
    for found in processes.run(compute, [name] * len(shares), parts):
        assert found.pop("first") == expected[P99[name]]
        assert found == expected


def forward_and_sync(name: str, texts: tuple[Tensor, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """The values of a step over all processes, this process's own values, and those of all after a manual sync."""
    metric = MAKE[name](dist_sync_on_step=True, sync_on_compute=False)
    step = metric(*arguments(name, texts))
    own = metric.to_dict()
    metric.sync()
    metric._computed = None
    together = metric.to_dict()  # which unsyncs
    return {n: x.item() for n, x in step.items()}, own, together


@pytest.mark.parametrize("name", MAKE)
def test_forward_or_a_manual_sync_gives_the_report_of_all_processes(processes: ProcessPool, name: str) -> None:
    processes.resize(3)
    parts = list(zip(*(x.split([2, 3, 1]) for x in short_texts()), strict=True))
    expected = after_texts(name, short_texts()).to_dict()
    answers = processes.run(forward_and_sync, [name] * 3, parts)
    for part, (step, own, together) in zip(parts, answers, strict=True):
        assert own == pytest.approx(after_texts(name, part).to_dict(), rel=0, abs=0, nan_ok=True)
        assert step == together == expected
