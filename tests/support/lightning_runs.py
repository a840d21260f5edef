"""Training runs in many configurations, each on two processes, which are started once.

Usage: python -m tests.support.lightning_runs FOLDER
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader
from torchmetrics import Metric

from tests.support.divergences import DIVERGENCES
from tests.support.lightning_student import IGNORED, OPTIONS, batches, loader
from torchdivergence import DivergenceCollection, KLDivergence

Seen = dict[str, list[tuple[Tensor, Tensor]]]
NAMES = {str(divergence).replace(".", "_"): divergence for divergence in DIVERGENCES}  # names of modules have no dots
MEAN = "mean"
PRECISIONS = ["32-true", "64-true", "bf16-true", "bf16-mixed", "16-true"]
# Not included: "16-mixed", which on the CPU is "bf16-mixed" with a warning, and the strategy "fsdp", which needs a GPU
CASES: dict[str, dict[str, Any]] = {
    **{precision: {"precision": precision} for precision in PRECISIONS},
    "accumulated": {"accumulate_grad_batches": 2, "max_epochs": 2},
    "limited": {"limit_val_batches": 1, "limit_train_batches": 2, "num_sanity_val_steps": 1},
    "fast": {"fast_dev_run": True},
    "in mid-epoch": {"val_check_interval": 1},
}
if torch.__version__ >= (2, 7):  # type: ignore[operator]  # before, FSDP 2 does not run on the CPU
    CASES["sharded"] = {"strategy": ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)}
EXPECTED = [
    "Checkpoint directory .* exists and is not empty",  # when a run is resumed
    "You're resuming from a checkpoint that ended before the epoch ended",  # the data are indexed by the step
]


def all_metrics(prefix: str) -> DivergenceCollection:
    """Sums of all divergences, which unlike means reveal rows that count twice, and a mean."""
    metrics = {name: d.make(log_prob=True, reduction="sum") for name, d in NAMES.items()}
    return DivergenceCollection({**metrics, MEAN: KLDivergence(log_prob=True)}, prefix=prefix)


class Comparison(LightningModule):
    """Computes all divergences, in training and on two validation loaders; ``seen`` holds the batches of this epoch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 5)
        self.metrics: Any = torch.nn.ModuleList(all_metrics(prefix) for prefix in ("train/", "val/", "val/"))
        self.seen: Seen = {"train": [], "val0": [], "val1": []}

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            assert self.device_mesh is not None
            fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])

    def on_train_epoch_start(self) -> None:
        self.seen["train"] = []

    def on_validation_epoch_start(self) -> None:
        self.seen["val0"], self.seen["val1"] = [], []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        features, teacher = batch
        logits = self.layer(features)
        self.seen["train"].append((teacher.clone(), logits.detach().clone()))
        self.metrics[0](teacher, logits)
        self.log_dict(self.metrics[0], on_step=True, on_epoch=True)
        return torch.nn.functional.cross_entropy(logits, teacher.softmax(-1))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int) -> None:  # noqa: ARG002
        features, teacher = batch
        logits = self.layer(features)
        self.seen[f"val{dataloader_idx}"].append((teacher.clone(), logits.clone()))
        self.metrics[1 + dataloader_idx].update(teacher, logits)
        self.log_dict(self.metrics[1 + dataloader_idx])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[Any]:
        return loader("train", self.global_rank)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return [loader("val", abs(self.global_rank - i)) for i in range(2)]


class Resumable(Comparison):
    """Can be resumed in mid-epoch, on any number of processes.

    The checkpoint is written by rank zero and read by every rank. So it holds the sums over all ranks; on reading, one
    rank takes them and the others start empty.
    """

    def training_step(self, _: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return super().training_step(batches("train", self.global_rank)[batch_idx], batch_idx)

    def _states(self) -> dict[str, Metric]:
        return {name: module for name, module in self.named_modules() if isinstance(module, Metric)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, metric in self._states().items():
            metric.persistent(True)
            with metric.sync_context():
                metric.state_dict(destination=checkpoint["state_dict"], prefix=f"{name}.")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.global_rank > 0:
            for name, metric in self._states().items():
                metric.reset()
                metric.persistent(True)
                metric.state_dict(destination=checkpoint["state_dict"], prefix=f"{name}.")


class Recorder(Callback):
    """Each process saves what it compared and what was logged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_end(self, trainer: Trainer, module: Any) -> None:
        file = self.path.with_name(f"{self.path.name}-rank{trainer.global_rank}.pt")
        torch.save((module.seen, dict(trainer.callback_metrics)), file)


class Crash(Callback):
    """Raises in the last step, after the metrics are updated with its batch."""

    def on_before_zero_grad(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            raise ArithmeticError("crash")


def fit(
    path: Path, module: Comparison, *callbacks: Callback, ckpt_path: str | Path | None = None, **options: Any
) -> None:
    """Save what was compared and logged in one file for each rank, whose name begins with the path."""
    usual = {"strategy": "ddp", "devices": 2, "max_epochs": 1, "num_sanity_val_steps": 0}
    trainer = Trainer(**OPTIONS | usual | options, callbacks=[Recorder(path), *callbacks])
    trainer.fit(module, ckpt_path=ckpt_path)


def saver(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "saved", every_n_train_steps=1, save_top_k=-1, save_last=True)


def crash_and_resume(folder: Path, **options: Any) -> None:
    """Train an epoch without a crash, and one that crashes and is resumed with new objects."""
    options |= {"limit_val_batches": 0, "enable_checkpointing": True}
    fit(folder / "uninterrupted", Resumable(), ModelCheckpoint(folder / "uninterrupted"), **options)
    try:
        fit(folder / "crashed", Resumable(), saver(folder), Crash(), **options)
    except ArithmeticError:
        fit(folder / "resumed", Resumable(), saver(folder), **options, ckpt_path="last")


if __name__ == "__main__":
    for message in IGNORED + EXPECTED:
        warnings.filterwarnings("ignore", message)
    folder = Path(sys.argv[1])
    for name, options in CASES.items():
        fit(folder / name, Comparison(), **options)
    crash_and_resume(folder)
