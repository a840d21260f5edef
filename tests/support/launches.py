"""How many launches of kernels an update and a compute need on a GPU, counted on a simulated one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import torchdivergence
from tests.support.simulated_gpu import recorded, simulated_gpu
from torchdivergence import DivergenceCollection, DivergenceReport, DivergenceStatistics, KLDivergence

EIGHT = (
    *("KLDivergence", "ReverseKLDivergence", "JeffreysDivergence", "JensenShannonDivergence", "CrossEntropy"),
    *("TotalVariationDistance", "HellingerDistance", "SquaredHellingerDistance"),
)


class Counts(NamedTuple):
    """Launches of torch and of Triton in an update; copies between host and device in a compute."""

    torch: int
    triton: int
    copies: int

    def __str__(self) -> str:
        return f"{self.torch} + {self.triton} | {self.copies}"


class Case(NamedTuple):
    """A metric, what is passed to its update, and the numbers that it needs at most."""

    make: Callable[[], Any]
    limit: Counts
    extra: tuple[str, ...] = ()


def _eight() -> DivergenceCollection:
    return DivergenceCollection({name: getattr(torchdivergence, name)(log_prob=True) for name in EIGHT})


CASES = {
    "`KLDivergence`": Case(lambda: KLDivergence(log_prob=True), Counts(0, 2, 2)),
    "`KLDivergence` with weights": Case(lambda: KLDivergence(log_prob=True), Counts(3, 2, 2), ("weights",)),
    "`DivergenceCollection` of eight": Case(_eight, Counts(16, 9, 16)),
    "`DivergenceStatistics`": Case(lambda: DivergenceStatistics(KLDivergence(log_prob=True)), Counts(1, 6, 2)),
    "`DivergenceReport` with targets": Case(DivergenceReport, Counts(9, 15, 2), ("target",)),
}


def counts(case: Case) -> Counts:
    """The numbers for the second update and the second compute. Raises if the host waits for the device otherwise."""
    generator = torch.Generator().manual_seed(0)
    with simulated_gpu(states_are_written=False):
        p, q = (x.to("cuda") for x in torch.randn(2, 2, 3, 5, generator=generator).unbind())
        known = {"weights": torch.rand(2, 3, generator=generator), "target": torch.tensor([[0, 1, 2], [4, 3, -100]])}
        extra = {name: known[name].to("cuda") for name in case.extra}
        metric = case.make().to("cuda")
        metric.update(p, q, **extra)
        metric.compute()
        with recorded() as update:
            metric.update(p, q, **extra)
        with recorded() as compute:
            metric.compute()
    if update.waits or update.copies or compute.waits:
        raise AssertionError(f"the host waits for the device: {update.waits}, {update.copies}, {compute.waits}")
    return Counts(len(update.torch), len(update.triton), len(compute.copies))
