"""A DivergenceCollection under Lightning."""

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.support.helpers import assert_same_bits
from tests.support.lightning_student import IGNORED, OPTIONS
from torchdivergence import DivergenceCollection, Entropy, JensenShannonDivergence, KLDivergence
from torchdivergence.functional import entropy, jensen_shannon_divergence, kl_divergence

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in IGNORED]

FUNCTIONS = {"kl": kl_divergence, "js": jensen_shannon_divergence, "entropy": entropy}


class Comparison(LightningModule):
    """Compares pairs of logits and records what is logged at each step."""

    def __init__(self) -> None:
        super().__init__()
        settings: dict[str, Any] = {"log_prob": True}
        metrics = {"kl": KLDivergence(**settings), "js": JensenShannonDivergence(**settings), "entropy": Entropy(True)}
        self.train_metrics = DivergenceCollection(metrics, prefix="train/")
        self.val_metrics = self.train_metrics.clone(prefix="val/")
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.steps: list[dict[str, Tensor]] = []

    def training_step(self, batch: list[Tensor]) -> Tensor:
        self.train_metrics(*batch)
        self.log_dict(self.train_metrics, on_step=True, on_epoch=True)
        return self.weight * 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append({n: v for n, v in self.trainer.callback_metrics.items() if n.endswith("_step")})

    def validation_step(self, batch: list[Tensor]) -> None:
        self.val_metrics.update(*batch)
        self.log_dict(self.val_metrics)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_log_dict_logs_the_exact_values_on_step_and_on_epoch() -> None:
    p, q = torch.randn(2, 10, 6).unbind()
    module, loader = Comparison(), DataLoader(TensorDataset(p, q), batch_size=4)
    trainer = Trainer(**OPTIONS, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, loader, loader)
    logged = trainer.callback_metrics
    assert len(module.steps) == 6
    for name, function in FUNCTIONS.items():
        whole = function(p, q, True)
        assert_same_bits(logged[f"val/{name}"], whole)
        assert_same_bits(logged[f"train/{name}_epoch"], whole)
        last = module.steps[-1][f"train/{name}_step"]
        assert last.ndim == 0
        assert_same_bits(last, function(p[8:], q[8:], True))
