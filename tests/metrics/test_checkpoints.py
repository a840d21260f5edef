"""Checkpoints: metrics resume from them with the same bits, and refuse truncated and foreign ones.

Each process calls ``persistent(True)`` and saves the ``state_dict`` of its metrics. To resume, on any number of
processes, each saved state is given to exactly one process, which reads it with ``load_state_dict`` (one
state) or ``merge_state`` (any number). Or, for a single file: every process calls ``sync``, rank zero saves, every
process calls ``unsync``; to resume, one process loads the file, and the others start empty.
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
import torchmetrics

from tests.support.checkpoints import BATCHES, State, after_batches, all_metrics, batch, make
from tests.support.divergences import DIVERGENCES, Divergence, every_divergence
from tests.support.helpers import Reduction, Snapshot, assert_same_bits, kl_after, pair
from torchdivergence import DivergenceCollection, KLDivergence


def update_and_die(folder: Path) -> None:
    """Update metrics, save them after each batch, and be killed amid the fifth batch, with half a file written."""
    metrics = all_metrics()
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
    """The folder with the files of a killed process."""
    folder = tmp_path_factory.mktemp("killed")
    process = multiprocessing.get_context("spawn").Process(target=update_and_die, args=(folder,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    return folder


def test_an_epoch_of_a_killed_process_resumes_with_the_same_bits(killed: Path) -> None:
    checkpoint, metrics = torch.load(killed / "last.pt"), all_metrics()
    assert checkpoint["batches"] == 4
    metrics.load_state_dict(checkpoint["metrics"])
    for name, whole in all_metrics().items():
        assert_same_bits(
            after_batches(metrics[name], range(4, BATCHES)).compute(), after_batches(whole, range(BATCHES)).compute()
        )


def test_a_collection_resumes_from_a_file(tmp_path: Path) -> None:
    def collection() -> DivergenceCollection:
        return DivergenceCollection(dict(all_metrics().items()))

    first = collection()
    for number in range(4):
        first.update(*batch(number))
    torch.save(first.state_dict(), tmp_path / "checkpoint.pt")
    second = collection()
    second.load_state_dict(torch.load(tmp_path / "checkpoint.pt"))
    for number in range(4, BATCHES):
        second.update(*batch(number))
    values = second.compute()
    for name, metric in all_metrics().items():
        assert_same_bits(values[name], after_batches(metric, range(BATCHES)).compute())


# Checkpoints that are refused


def assert_unchanged(metric: Any, divergence: Divergence, reduction: str) -> None:
    """Assert that a metric still has the value of its two batches and accumulates a third."""
    assert metric.update_count == 2
    assert_same_bits(metric.compute(), after_batches(make(divergence, reduction), range(2)).compute())
    assert_same_bits(
        after_batches(metric, [2]).compute(), after_batches(make(divergence, reduction), range(3)).compute()
    )


@pytest.mark.parametrize("size", [0, 1, 5000, -1])
def test_a_truncated_checkpoint_is_refused_and_changes_nothing(killed: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "cut.pt").write_bytes((killed / "last.pt").read_bytes()[:size])
    metric = after_batches(make(DIVERGENCES[0], "mean"), range(2))
    with pytest.raises((EOFError, OSError, RuntimeError, pickle.UnpicklingError)):
        metric.load_state_dict(torch.load(tmp_path / "cut.pt")["metrics"])
    assert_unchanged(metric, DIVERGENCES[0], "mean")


FOREIGN: dict[str, Callable[[Divergence, str], State]] = {
    "another divergence": lambda divergence, reduction: make(
        DIVERGENCES[DIVERGENCES.index(divergence) - 3], reduction
    ).state_dict(),
    "another scale": lambda divergence, reduction: make(divergence, reduction, log_prob=False).state_dict(),
    "another kind of state": lambda divergence, reduction: make(
        divergence, "mean" if reduction == "none" else "none"
    ).state_dict(),
    "a prefix": lambda divergence, reduction: make(divergence, reduction).state_dict(prefix="val_kl."),
    "a linear layer": lambda *_: torch.nn.Linear(2, 2).state_dict(),
    "torchmetrics": lambda *_: torchmetrics.KLDivergence().metric_state,
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("reduction", ["mean", "none"])
@every_divergence
def test_a_foreign_checkpoint_is_refused_and_changes_nothing(
    divergence: Divergence, reduction: str, foreign: Callable[[Divergence, str], State]
) -> None:
    metric, state = after_batches(make(divergence, reduction), range(2)), foreign(divergence, reduction)
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict for \w+:\n\s+(Missing|Unexpected) key"):
        metric.load_state_dict(state)
    with pytest.raises(ValueError, match=r"merge_state needs the state '.*but the incoming states are"):
        metric.merge_state(state)
    assert_unchanged(metric, divergence, reduction)


some_reductions = pytest.mark.parametrize("reduction", ["mean", "none"])


def saved(metric: KLDivergence) -> State:
    metric.persistent(True)
    return metric.state_dict()


@some_reductions
def test_a_loaded_state_replaces_the_present_one_without_a_warning(reduction: Reduction) -> None:
    state = saved(kl_after(pair(), reduction=reduction))
    for metric in (KLDivergence(reduction=reduction), kl_after(pair(seed=3), reduction=reduction)):
        if metric.update_called:
            metric.compute()
        metric.load_state_dict(state)
        assert_same_bits(metric.compute(), kl_after(pair(), reduction=reduction).compute())
        metric.update(*pair(seed=1))
        assert_same_bits(metric.compute(), kl_after(pair(), pair(seed=1), reduction=reduction).compute())


@some_reductions
def test_updates_do_not_write_into_the_loaded_dict(reduction: Reduction) -> None:
    state = saved(kl_after(pair(), reduction=reduction))
    same = saved(kl_after(pair(), reduction=reduction))
    metric = KLDivergence(reduction=reduction)
    metric.load_state_dict(state)
    metric.update(*pair(seed=1))
    metric(*pair(seed=2))
    metric.reset()
    torch.testing.assert_close(state, same, rtol=0, atol=0)


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: x.double(), lambda x: x.tolist()])
@pytest.mark.parametrize("in_module", [True, False])
def test_a_state_of_another_shape_or_dtype_is_refused_and_changes_nothing(
    damage: Callable[[Any], Any], in_module: bool
) -> None:
    metric = kl_after(pair())
    module = torch.nn.ModuleDict({"metric": metric}) if in_module else metric
    metric.persistent(True)
    bad = {name: damage(state) for name, state in module.state_dict().items()}
    metric.compute()
    before = Snapshot(metric)
    with pytest.raises(RuntimeError, match=r"kl_divergence_sums\S* does not fit KLDivergence"):
        module.load_state_dict(bad)
    before.assert_unchanged()


@pytest.mark.parametrize("bad", [[torch.zeros(2)], torch.zeros(2), 3])
def test_rows_of_another_dtype_are_refused_and_change_nothing(bad: Any) -> None:
    metric = kl_after(pair(), reduction="none")
    [name] = saved(metric)
    before = Snapshot(metric)
    with pytest.raises(RuntimeError, match=r"kl_divergence_rows\S* does not fit KLDivergence"):
        metric.load_state_dict({name: bad})
    before.assert_unchanged()


def test_no_two_divergences_share_a_state_name() -> None:
    names = [name for d in DIVERGENCES for name in make(d, "mean").state_dict()]
    assert len(names) == len(DIVERGENCES) == len(set(names))
