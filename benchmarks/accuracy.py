"""KL divergence by three libraries against 50-digit arithmetic, as a Markdown table.

python -m benchmarks.accuracy
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks.report import Section, paragraphs, table
from tests.support.definitions import kl_divergence, near
from torchdivergence import KLDivergence

SPREAD = 3.0
UPDATES = 10**7
TEXT = """\
The mean over the rows ({}) of float32 logits and, in brackets, the relative error of the worst row, against arithmetic
with 50 digits. The last line is the mean of one row over and over, added to a float32 sum as torchmetrics adds it."""


class Case(NamedTuple):
    """One line of the table: a value for each row, in nats."""

    name: str
    true: list[float]
    torch: list[float]
    torchmetrics: list[float]
    ours: list[float]


def true_kl(p: Tensor, q: Tensor, log_prob: bool) -> list[float]:
    """The KL of exactly these rows."""
    return [float(kl_divergence(*rows, log_prob)) for rows in zip(p, q, strict=True)]


def compare(name: str, p_logits: Tensor, q_logits: Tensor) -> Case:
    """All three on the same float32 logits."""
    log_p, log_q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    theirs, ours = torchmetrics.KLDivergence(reduction="none"), KLDivergence(log_prob=True, reduction="none")
    theirs.update(p_logits.softmax(-1), q_logits.softmax(-1))
    ours.update(p_logits, q_logits)
    values = (rows, theirs.compute(), ours.compute())
    return Case(name, true_kl(p_logits, q_logits, log_prob=True), *(x.flatten().tolist() for x in values))


def masked(rows: int, both: bool) -> tuple[Tensor, Tensor]:
    """Logits with half of the classes ruled out by -inf: the same in p and q, or in p alone."""
    p, q = near((rows, 1000), SPREAD, 0.1)
    p[:, ::2] = -math.inf
    if both:
        q[:, ::2] = -math.inf
    return p, q


def drift() -> Case:
    """The mean over many updates of one row each.

    torchmetrics adds each batch to a float32 number. numpy's ``accumulate`` makes the same additions one after the
    other, in seconds. Ours takes the rows in ten updates: their number does not change the bits of its sum.
    """
    p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
    row = torchmetrics.functional.kl_divergence(p, q, reduction="sum").numpy()
    total = np.add.accumulate(np.full(UPDATES, row, dtype=np.float32))[-1]
    ours = KLDivergence()
    for _ in range(10):
        ours.update(p.expand(UPDATES // 10, 3), q.expand(UPDATES // 10, 3))
    mean = [float(total) / UPDATES]
    return Case(f"3 classes, {UPDATES:,} updates", true_kl(p, q, log_prob=False), [], mean, [ours.compute().item()])


def cases(rows: int) -> Iterator[Case]:
    yield compare("10 classes", *near((rows, 10), SPREAD, 1.1e-2))
    yield compare("32,000 classes", *near((rows, 32_000), SPREAD, 1e-3))
    yield compare("128,256 classes", *near((rows, 128_256), SPREAD, 1e-4))
    yield compare("1000 classes, half of them -inf in p and q", *masked(rows, both=True))
    yield compare("1000 classes, half of them -inf in p", *masked(rows, both=False))
    yield drift()


def cell(values: list[float], true: list[float]) -> str:
    """What a library says."""
    if not values:
        return "-"
    mean = math.fsum(values) / len(values)
    if math.isnan(mean):
        return "nan"
    worst = max(abs(value - t) / t for value, t in zip(values, true, strict=True))
    negative = sum(value < 0 for value in values)
    return f"{mean:.3g} ({worst:.0e})" + (f", {negative} of {len(values)} rows < 0" if negative else "")


def measure(quick: bool) -> Section:
    rows = 1 if quick else 8
    lines = (
        [name, f"{math.fsum(true) / len(true):.3g}", *(cell(x, true) for x in values)]
        for name, true, *values in cases(rows)
    )
    head = ["Case", "true KL", "`F.kl_div`", "torchmetrics", "torchdivergence"]
    return Section("Accuracy", paragraphs(TEXT.format(rows), table(head, lines)))


if __name__ == "__main__":
    print(measure(quick=False).body)
