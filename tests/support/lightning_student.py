"""A Lightning module that remembers what it compared; as a script, two processes of it.

Usage: python -m tests.support.lightning_student STRATEGY FOLDER
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from torchdivergence import KLDivergence

IGNORED = [
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # in Lightning, by torch
    "The .*_dataloader.* does not have many workers",  # three batches need none
]
OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
SIZES = {  # for each rank, the numbers of rows in its batches: all different, and one rank has more of them
    "train": [[4, 2, 5], [1, 6, 3]],
    "val": [[3, 2], [5, 1, 4]],
}


def batches(stage: str, rank: int) -> list[tuple[Tensor, Tensor]]:
    """Features and a teacher's logits."""
    generator = torch.Generator().manual_seed(rank)
    return [
        (torch.randn(rows, 3, generator=generator), 3 * torch.randn(rows, 5, generator=generator))
        for rows in SIZES[stage][rank]
    ]


class Student(LightningModule):
    """A linear student; ``seen`` holds what its metrics were given in this epoch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 5)
        self.train_kl = KLDivergence(log_prob=True)
        self.val_kl = KLDivergence(log_prob=True, reduction="sum")  # it shows what a mean hides: rows that count twice
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {"train": [], "val": []}

    def _compare(self, stage: str, metric: KLDivergence, batch: tuple[Tensor, Tensor]) -> Tensor:
        features, teacher = batch
        logits = self.layer(features)
        self.seen[stage].append((teacher.clone(), logits.detach().clone()))
        metric(teacher, logits)
        return logits

    def on_train_epoch_start(self) -> None:
        self.seen["train"] = []

    def on_validation_epoch_start(self) -> None:
        self.seen["val"] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        logits = self._compare("train", self.train_kl, batch)
        self.log("train/kl", self.train_kl, on_step=True, on_epoch=True)
        return torch.nn.functional.cross_entropy(logits, batch[1].softmax(-1))

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._compare("val", self.val_kl, batch)
        self.log("val/kl", self.val_kl)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(batches("train", self.global_rank), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(batches("val", self.global_rank), batch_size=None)


class SavingStudent(Student):
    """Each process writes down what it saw and what was logged."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_fit_end(self) -> None:
        torch.save((self.seen, dict(self.trainer.callback_metrics)), self.folder / f"rank{self.global_rank}.pt")


if __name__ in ("__main__", "__mp_main__"):  # a spawned process imports this file
    for message in IGNORED:
        warnings.filterwarnings("ignore", message)

if __name__ == "__main__":
    strategy, folder = sys.argv[1:]
    # one epoch without a check before it: spawned processes share the memory of their metrics until a reset
    trainer = Trainer(**OPTIONS, strategy=strategy, devices=2, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(SavingStudent(Path(folder)))
