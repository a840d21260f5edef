"""Reports and statistics on several processes, in Lightning, from a checkpoint, as copies."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.support.lightning_student import IGNORED, OPTIONS
from tests.support.processes import Ranks
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence

Numbers = dict[str, float]
SHAPE = 6, 9, 8  # texts, tokens, classes


def texts() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p, q = 3 * torch.randn(2, *SHAPE, generator=generator)
    return p, p + 0.1 * q, torch.randint(0, SHAPE[-1], SHAPE[:2], generator=generator)


def report(**settings: Any) -> DivergenceReport:
    return DivergenceReport(top_k=[1, 2], **settings)


def statistics(**settings: Any) -> DivergenceStatistics:
    return DivergenceStatistics(KLDivergence(log_prob=True), **settings)


MAKE: dict[str, Callable[..., Any]] = {"report": report, "statistics": statistics}


def fed(name: str, texts: tuple[Tensor, ...]) -> Any:
    metric = MAKE[name]()
    if len(texts[0]):
        metric.update(*texts[: 3 if name == "report" else 2])
    return metric


def job(name: str, texts: tuple[Tensor, ...]) -> Numbers:
    metric = fed(name, texts)
    first = metric["p99" if name == "statistics" else "kl_p99"].compute().item()  # all values meet the others once
    return metric.to_dict() | {"first": first}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("shares", [[6], [5, 1], [2, 4, 0], [0, 1, 5], [1, 2, 0, 3]], ids=str)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # of a rank without rows
def test_processes_have_the_bits_of_one(processes: Ranks, name: str, shares: list[int]) -> None:
    processes.resize(len(shares))
    parts = list(zip(*(x.split(shares) for x in texts()), strict=True))
    expected = fed(name, texts()).to_dict()
    for found in processes.run(job, [name] * len(shares), parts):
        assert found.pop("first") == expected["p99" if name == "statistics" else "kl_p99"]
        assert found == expected


def stepped(name: str, texts: tuple[Tensor, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """The values at a step that speaks for all; this process's own by hand, and those of all by hand."""
    args = texts[: 3 if name == "report" else 2]
    metric = MAKE[name](dist_sync_on_step=True, sync_on_compute=False)
    step = metric(*args)
    own = metric.to_dict()
    metric.sync()
    metric._computed = None
    together = metric.to_dict()  # which un-syncs
    return {n: x.item() for n, x in step.items()}, own, together


@pytest.mark.parametrize("name", MAKE)
def test_a_step_or_a_sync_by_hand_speaks_for_all_processes(processes: Ranks, name: str) -> None:
    processes.resize(3)
    parts = list(zip(*(x.split([2, 3, 1]) for x in texts()), strict=True))
    expected = fed(name, texts()).to_dict()
    for part, (step, own, together) in zip(parts, processes.run(stepped, [name] * 3, parts), strict=True):
        assert own == pytest.approx(fed(name, part).to_dict(), rel=0, abs=0, nan_ok=True)
        assert step == together == expected


def saved(metric: Any) -> Any:
    metric.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    again = report() if isinstance(metric, DivergenceReport) else statistics()
    again.persistent(True)
    again.load_state_dict(torch.load(file))
    return again


COPIES = [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.clone(), saved]


@pytest.mark.parametrize("again", COPIES, ids=["deepcopy", "pickle", "clone", "state_dict"])
@pytest.mark.parametrize("name", MAKE)
def test_a_copy_goes_on_by_itself(name: str, again: Callable[[Any], Any]) -> None:
    p, q, target = texts()
    metric = fed(name, (p[:3], q[:3], target[:3]))
    before = metric.to_dict()
    other = again(metric)
    assert other.to_dict() == before
    other.update(*(p[3:], q[3:], target[3:])[: 3 if name == "report" else 2])
    whole = fed(name, (p, q, target)).to_dict()
    assert other.to_dict() == whole
    assert metric.to_dict() == before
    key = next(iter(whole))
    assert other[key].compute().item() == whole[key]
    assert metric[key].compute().item() == before[key]


@pytest.mark.parametrize("name", MAKE)
def test_casts_leave_the_state_alone_and_a_reset_starts_anew(name: str) -> None:
    metric = fed(name, texts())
    before = metric.to_dict()
    torch.nn.ModuleDict({"metric": metric}).to(torch.bfloat16)
    metric._computed = None
    assert metric.to_dict() == before
    metric[next(iter(before))].reset()
    metric.update(*texts()[: 3 if name == "report" else 2])
    assert metric.to_dict() == before


class Comparison(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.val = report()
        self.val_kl = statistics()
        self.train_report = report()
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
def test_lightning_logs_every_value_and_monitors_one(tmp_path: Path) -> None:
    module, loader = Comparison(), DataLoader(TensorDataset(*texts()), batch_size=4)
    monitor = ModelCheckpoint(tmp_path, monitor="val_kl_p99")
    options = OPTIONS | {"enable_checkpointing": True}
    trainer = Trainer(**options, max_epochs=2, callbacks=[monitor], log_every_n_steps=1)
    trainer.fit(module, loader, loader)
    whole = fed("report", texts()).to_dict()
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert {name: logged[name] for name in whole} == whole
    assert monitor.best_model_score == logged["val_kl_p99"] == fed("statistics", texts()).to_dict()["p99"]
    last = fed("report", tuple(x[4:] for x in texts())).to_dict()
    assert module.steps[-1] == last
    assert logged["train_perplexity_q_step"] == last["perplexity_q"]
    assert logged["train_perplexity_q_epoch"] == whole["perplexity_q"]
