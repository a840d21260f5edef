"""What Lightning logs is exact with any strategy and precision, and after a crash."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import ROOT
from tests.support.helpers import assert_same_bits
from tests.support.lightning_runs import (
    CASES,
    EXPECTED,
    MEAN,
    NAMES,
    Comparison,
    Resumable,
    Seen,
    crash_and_resume,
    fit,
    saver,
)
from tests.support.lightning_student import IGNORED, SIZES
from torchdivergence.functional import kl_divergence

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in IGNORED + EXPECTED]

Recorded = tuple[Seen, dict[str, Tensor]]
DTYPES = {
    "64-true": torch.float64,
    "bf16-true": torch.bfloat16,
    "bf16-mixed": torch.bfloat16,
    "16-true": torch.float16,
}
CUT = {"limited": (2, 1), "fast": (1, 1)}  # the number of batches of each training and validation loader
STEPS = 3  # in an epoch


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes compared and logged in all cases."""
    folder = tmp_path_factory.mktemp("matrix")
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    subprocess.run(
        [sys.executable, "-m", "tests.support.lightning_runs", folder],
        check=True,
        timeout=120,
        cwd=ROOT,
        env=environment,
    )
    return folder


def recorded(path: Path, ranks: int = 2) -> list[Recorded]:
    return [torch.load(path.with_name(f"{path.name}-rank{rank}.pt")) for rank in range(ranks)]


def assert_logged(logged: dict[str, Tensor], name: str, rows: list[tuple[Tensor, Tensor]]) -> None:
    """Assert that the logged values are those of the rows; the star in the name stands for the metric."""
    p, q = (torch.cat([x.double() for x in xs]) for xs in zip(*rows, strict=True))
    for label, divergence in NAMES.items():
        assert_same_bits(
            logged[name.replace("*", label)], divergence.function(p, q, True, "sum", **divergence.parameter)
        )
    assert_same_bits(logged[name.replace("*", MEAN)], kl_divergence(p, q, log_prob=True))


def assert_all_logged(ranks: list[Recorded]) -> None:
    everything = {stage: [batch for seen, _ in ranks for batch in seen[stage]] for stage in ("train", "val0", "val1")}
    for seen, logged in ranks:
        assert_logged(logged, "train/*_step", seen["train"][-1:])
        assert_logged(logged, "train/*_epoch", everything["train"])
        for loader in range(2):
            assert_logged(logged, f"val/*/dataloader_idx_{loader}", everything[f"val{loader}"])


@pytest.mark.parametrize("case", CASES)
def test_two_processes_log_all_divergences_of_their_rows(launched: Path, case: str) -> None:
    ranks = recorded(launched / case)
    train, val = CUT.get(case, (None, None))
    for rank, (seen, _) in enumerate(ranks):
        assert [len(p) for p, _ in seen["train"]] == SIZES["train"][rank][:train]
        for loader in range(2):
            assert [len(p) for p, _ in seen[f"val{loader}"]] == SIZES["val"][rank ^ loader][:val]
            assert {q.dtype for _, q in seen[f"val{loader}"]} == {DTYPES.get(case, torch.float32)}
    assert_all_logged(ranks)


def test_spawned_processes_log_all_divergences_of_their_rows(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "precision": "bf16-mixed",
        "accumulate_grad_batches": 2,
        "limit_val_batches": 2,
        "max_epochs": 2,
    }
    fit(tmp_path / "spawned", Comparison(), strategy="ddp_spawn", **options)
    assert_all_logged(recorded(tmp_path / "spawned"))


def assert_resumed(folder: Path, ranks: int) -> None:
    """Assert that an epoch that crashed in its last step and was resumed logged the same as an uninterrupted one."""
    uninterrupted, resumed = (recorded(folder / name, ranks) for name in ("uninterrupted", "resumed"))
    rows = [batch for seen, _ in uninterrupted for batch in seen["train"]]
    assert len(rows) == STEPS * ranks
    for (_, logged_at_once), (seen, logged) in zip(uninterrupted, resumed, strict=True):
        assert len(seen["train"]) == 1
        assert_logged(logged_at_once, "train/*_epoch", rows)
        assert_logged(logged, "train/*_epoch", rows)


def test_a_crashed_epoch_of_one_process_resumes_with_the_same_bits(tmp_path: Path) -> None:
    crash_and_resume(tmp_path, devices=1, strategy="auto")
    assert_resumed(tmp_path, 1)


def test_a_crashed_epoch_of_two_processes_resumes_on_two(launched: Path) -> None:
    assert_resumed(launched, 2)


def test_a_crashed_epoch_of_two_processes_resumes_on_one(launched: Path, tmp_path: Path) -> None:
    checkpoint = launched / "saved" / "epoch=0-step=2.ckpt"
    options: dict[str, Any] = {"devices": 1, "strategy": "auto", "limit_val_batches": 0, "enable_checkpointing": True}
    fit(tmp_path / "alone", Resumable(), saver(launched), ckpt_path=checkpoint, **options)
    [(seen, logged)] = recorded(tmp_path / "alone", 1)
    before = [batch for seen, _ in recorded(launched / "uninterrupted") for batch in seen["train"][: STEPS - 1]]
    assert len(seen["train"]) == 1
    assert_logged(logged, "train/*_epoch", before + seen["train"])
