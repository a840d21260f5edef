"""A Lightning module that records the batches it compares."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from torchdivergence import KLDivergence

IGNORED = [
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # raised by torch, in Lightning
    "The .*_dataloader.* does not have many workers",  # three batches need no workers
]
OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
SIZES = {  # for each rank, the number of rows in each of its batches
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


def loader(stage: str, rank: int) -> DataLoader[Any]:
    return DataLoader(batches(stage, rank), batch_size=None)  # type: ignore[arg-type]  # a list is enough


class Student(LightningModule):
    """A linear student; ``seen`` holds the batches of its metrics in this epoch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 5)
        self.train_kl = KLDivergence(log_prob=True)
        self.val_kl = KLDivergence(log_prob=True, reduction="sum")  # unlike a mean, it reveals rows that count twice
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

    def train_dataloader(self) -> DataLoader[Any]:
        return loader("train", self.global_rank)

    def val_dataloader(self) -> DataLoader[Any]:
        return loader("val", self.global_rank)
