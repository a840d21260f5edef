"""What Lightning logs is the exact value of the batches that the module compared."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from tests.support.helpers import assert_same_bits
from tests.support.lightning_student import IGNORED, OPTIONS, Student, batches
from torchdivergence.functional import kl_divergence

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in IGNORED]


def value(name: str, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
    p, q = (torch.cat([x.double() for x in xs]) for xs in zip(*seen, strict=True))
    return kl_divergence(p, q, log_prob=True, reduction="sum" if name == "val/kl" else "mean")


class LogChecker(Callback):
    """Compares each logged value with the batches of the module as soon as it is logged."""

    def __init__(self) -> None:
        self.checks = {"step": 0, "train": 0, "val": 0, "sanity": 0}

    def check(self, trainer: Trainer, what: str, name: str, seen: list[tuple[Tensor, Tensor]]) -> None:
        assert_same_bits(trainer.callback_metrics[name], value(name, seen))
        self.checks[what] += 1

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.check(trainer, "step", "train/kl_step", module.seen["train"][-1:])

    def on_train_end(self, trainer: Trainer, module: Any) -> None:
        self.check(trainer, "train", "train/kl_epoch", module.seen["train"])

    def on_validation_end(self, trainer: Trainer, module: Any) -> None:
        what = "sanity" if trainer.sanity_checking else "val"
        self.check(trainer, what, "val/kl", module.seen["val"])


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "bf16-mixed"])
def test_steps_and_epochs_have_the_exact_value_in_any_precision(precision: Any) -> None:
    checker, student = LogChecker(), Student()
    trainer = Trainer(**OPTIONS, max_epochs=2, precision=precision, callbacks=[checker], num_sanity_val_steps=1)
    trainer.fit(student)
    assert checker.checks == {"step": 6, "train": 1, "val": 2, "sanity": 1}
    narrow = torch.float32 if precision == "32-true" else torch.bfloat16
    assert {logits.dtype for _, logits in student.seen["val"]} == {narrow}


class Saver(Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)


class IndexedStudent(Student):
    """Its data are indexed by the step, so that a resumed epoch continues with the next batch."""

    def training_step(self, _: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batches("train", 0)[batch_idx], batch_idx)


# the data are indexed by the step, so no stateful loader is needed
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_an_epoch_resumed_midway_logs_the_same_bits(tmp_path: Path) -> None:
    values, steps = [], []
    for checkpoint in (None, tmp_path / "midway.ckpt"):
        student = IndexedStudent()
        student.train_kl.persistent(True)
        callbacks: list[Callback] = [Saver(tmp_path / "midway.ckpt")] if checkpoint is None else []
        trainer = Trainer(**OPTIONS, max_epochs=1, limit_val_batches=0, callbacks=callbacks)
        trainer.fit(student, ckpt_path=checkpoint)
        values.append(trainer.callback_metrics["train/kl_epoch"])
        steps.append(len(student.seen["train"]))
    assert steps == [3, 1]
    assert_same_bits(*values)
