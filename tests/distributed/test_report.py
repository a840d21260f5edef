"""Reports and statistics on several processes give the bits of one process."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.support.processes import ProcessPool
from tests.support.reports import MAKE, Numbers, after_texts, all_values, arguments, kept_report, short_texts
from torchdivergence import DivergenceReport

P99 = {"report": "kl_p99", "kept": "kl_p99", "statistics": "p99"}


def compute(name: str, texts: tuple[Tensor, ...]) -> dict[str, Any]:
    metric = after_texts(name, texts)
    first = metric[P99[name]].compute().item()  # this synchronises all values
    return all_values(metric) | {"first": first}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("shares", [[6], [5, 1], [2, 4, 0], [0, 1, 5], [1, 2, 0, 3]], ids=str)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # on a rank without rows
def test_several_processes_give_a_report_of_the_same_bits(processes: ProcessPool, name: str, shares: list[int]) -> None:
    processes.resize(len(shares))
    parts = list(zip(*(x.split(shares) for x in short_texts()), strict=True))
    expected = all_values(after_texts(name, short_texts()))
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


def compare(texts: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> str:
    return kept_report(*texts).compare(kept_report(*other)).to_json()


def test_reports_on_differently_split_texts_are_compared_with_the_bits_of_one_process(processes: ProcessPool) -> None:
    processes.resize(2)
    p, q, target = short_texts()
    first, second = (p, q, target), (p, p + 0.7 * (q - p), target)
    expected = kept_report(*first).compare(kept_report(*second)).to_json()
    parts = [
        list(zip(*(x.split(shares) for x in side), strict=True)) for side, shares in ((first, [4, 2]), (second, [1, 5]))
    ]
    for found in processes.run(compare, *parts):
        assert found == expected


def save_synced(texts: tuple[Tensor, ...], path: str) -> None:
    report = kept_report(*texts)
    report.sync()
    report.save(path)
    report.unsync()


def test_a_synchronized_report_is_saved_as_that_of_all_processes(processes: ProcessPool, tmp_path: Path) -> None:
    processes.resize(2)
    texts = short_texts()
    parts = list(zip(*(x.split([4, 2]) for x in texts), strict=True))
    paths = [str(tmp_path / name) for name in "ab"]
    processes.run(save_synced, parts, paths)
    for path in paths:
        assert all_values(DivergenceReport.load(path)) == all_values(kept_report(*texts))
