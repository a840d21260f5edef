"""Reports and statistics under Lightning."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.support.lightning_student import IGNORED, OPTIONS
from tests.support.reports import MAKE, Numbers, after_texts, short_texts


class Comparison(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.val = MAKE["report"]()
        self.val_kl = MAKE["statistics"]()
        self.train_report = MAKE["report"]()
        self.steps: list[Numbers] = []

    def training_step(self, batch: list[Tensor]) -> Tensor:
        self.steps.append({name: value.item() for name, value in self.train_report(*batch).items()})
        self.log_dict(
            {f"train_{name}": value for name, value in self.train_report.items()}, on_step=True, on_epoch=True
        )
        return self.weight * 0

    def validation_step(self, batch: list[Tensor]) -> None:
        self.val.update(*batch)
        self.val_kl.update(*batch[:2])
        self.log_dict(self.val)
        self.log("val_kl_p99", self.val_kl["p99"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings(*(f"ignore:{message}" for message in IGNORED))
def test_every_value_of_a_report_is_logged_and_one_of_statistics_is_monitored(tmp_path: Path) -> None:
    module, loader = Comparison(), DataLoader(TensorDataset(*short_texts()), batch_size=4)
    monitor = ModelCheckpoint(tmp_path, monitor="val_kl_p99")
    options = OPTIONS | {"enable_checkpointing": True}
    trainer = Trainer(**options, max_epochs=2, callbacks=[monitor], log_every_n_steps=1)
    trainer.fit(module, loader, loader)
    whole = after_texts("report", short_texts()).to_dict()
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert {name: logged[name] for name in whole} == whole
    assert monitor.best_model_score == logged["val_kl_p99"] == after_texts("statistics", short_texts()).to_dict()["p99"]
    last = after_texts("report", tuple(x[4:] for x in short_texts())).to_dict()
    assert module.steps[-1] == last
    assert logged["train_perplexity_q_step"] == last["perplexity_q"]
    assert logged["train_perplexity_q_epoch"] == whole["perplexity_q"]
