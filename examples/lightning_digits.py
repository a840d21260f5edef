"""Distill a digit classifier with Lightning and follow KL(teacher‖student), in training and on N processes.

python examples/lightning_digits.py [--devices N] [--epochs N] [--output FILE]
"""

import argparse
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchmetrics
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from torchdivergence import KLDivergence
from torchdivergence.functional import kl_divergence

# These run in the spawned processes too, so they stand outside main().
# The data are tensors in memory: worker processes would only add copies.
warnings.filterwarnings("ignore", message=".*does not have many workers")
# Lightning asks torch something in a way that this torch calls old-fashioned; nothing here can change it.
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
# Which accelerators were looked for and what processes were started is no news here; warnings still show.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


class Distillation(LightningModule):
    """A student that learns the teacher's distribution over the ten digits."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.student = student
        self.train_kl = KLDivergence(log_prob=True)
        self.val_kl = KLDivergence(log_prob=True)
        self.steps: list[float] = []
        self.epochs: list[float] = []

    def training_step(self, batch: list[Tensor]) -> Tensor:
        p, q = self.teacher(batch[0]), self.student(batch[0])
        self.steps.append(self.train_kl(p, q).item())
        self.log("train_kl", self.train_kl, on_step=True, on_epoch=False, prog_bar=True)  # the object, not a number
        return kl_divergence(p, q, log_prob=True)

    def validation_step(self, batch: list[Tensor]) -> None:
        self.val_kl.update(self.teacher(batch[0]), self.student(batch[0]))
        self.log("val_kl", self.val_kl, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.epochs.append(self.val_kl.compute().item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.student.parameters(), lr=3e-3)


class Evaluation(LightningModule):
    """KL over rows of logits, each process with rows of its own."""

    def __init__(self, teacher: Tensor, student: Tensor) -> None:
        super().__init__()
        self.rows = TensorDataset(teacher, student)
        self.nats = KLDivergence(log_prob=True)
        self.bits = KLDivergence(log_prob=True, base=2)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        # Every row once: a DistributedSampler would repeat rows until all processes have equally many.
        mine = range(self.trainer.global_rank, len(self.rows), self.trainer.world_size)
        return DataLoader(Subset(self.rows, mine), batch_size=64)

    def validation_step(self, batch: list[Tensor]) -> None:
        for name, metric in {"nats": self.nats, "bits": self.bits}.items():
            metric.update(*batch)
            self.log(name, metric)


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1400 images to train on, 397 to validate on: an odd number, which two processes cannot share evenly."""
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    order = torch.randperm(len(data))
    return TensorDataset(*data[order[:1400]]), TensorDataset(*data[order[1400:]])


def train_teacher(data: TensorDataset) -> nn.Module:
    teacher = mlp(128)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    images, labels = data.tensors
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(teacher(images), labels))
        optimizer.step()
    return teacher


def trainer(**settings: Any) -> Trainer:
    """On the CPU, with a progress bar and without files."""
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False, **settings)


def evaluate(teacher: Tensor, student: Tensor, devices: int) -> Mapping[str, float]:
    """KL in nats and bits over all rows, on so many processes."""
    strategy = "ddp_spawn" if devices > 1 else "auto"
    shards = trainer(devices=devices, strategy=strategy, use_distributed_sampler=False)
    return shards.validate(Evaluation(teacher, student), verbose=False)[0]


def report(teacher: Tensor, student: Tensor, devices: int) -> None:
    """Print KL(teacher‖student) as this package, torch and torchmetrics give it for the same rows."""
    ours = evaluate(teacher, student, devices)
    log_p, log_q = teacher.log_softmax(-1), student.log_softmax(-1)
    theirs = {
        "torch.nn.KLDivLoss": nn.KLDivLoss(reduction="batchmean", log_target=True)(log_q, log_p).item(),
        "torchmetrics.KLDivergence": torchmetrics.KLDivergence(log_prob=True)(log_p, log_q).item(),
    }
    print(f"\nKL(teacher‖student) over {len(teacher)} validation images, on {devices} process{'es' * (devices > 1)}\n")
    for unit, value in ours.items():
        print(f"{'torchdivergence.KLDivergence':30}{value:<22.17g}{unit}   {value.hex()}")
    for name, value in theirs.items():
        print(f"{name:30}{value:<22.9g}nats   relative difference {abs(value / ours['nats'] - 1):.0e}")


def plot(model: Distillation, path: Path) -> None:
    """KL of each training step and of each validation epoch."""
    per_epoch = len(model.steps) / len(model.epochs)
    steps = [(i + 1) / per_epoch for i in range(len(model.steps))]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, model.steps, color="0.7", lw=0.8, label="training step")
    axes.plot(range(1, len(model.epochs) + 1), model.epochs, "o-", ms=4, label="validation epoch")
    axes.set(yscale="log", xlabel="epoch", ylabel="KL(teacher‖student), nats", title="Distilling a digit classifier")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nKL over the epochs: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1, help="CPU processes for the last validation (1)")
    parser.add_argument("--epochs", type=int, default=30, help="of the distillation (30)")
    parser.add_argument("--output", type=Path, default=Path("outputs/lightning_digits.png"), help="the plot")
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # enough for small models, and the same rounding whatever the number of cores
    train, val = digits()
    model = Distillation(train_teacher(train), mlp(32))
    fit = trainer(devices=1, max_epochs=options.epochs, num_sanity_val_steps=0)
    fit.fit(model, DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=64))

    # The logits are made once, here: a matrix product may round a row differently in another batch, and no
    # metric could undo that. From equal logits the metric gives equal bits on any number of processes.
    with torch.no_grad():
        teacher, student = model.teacher(val.tensors[0]), model.student(val.tensors[0])
    report(teacher, student, options.devices)
    plot(model, options.output)


if __name__ == "__main__":
    main()
