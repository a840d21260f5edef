"""KL divergence by three libraries against 50-digit arithmetic, as a Markdown table.

Each cell has the mean over the rows and, in brackets, the relative error of the worst row.

python -m benchmarks.accuracy
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import mpmath
import numpy as np
import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from torchdivergence import KLDivergence

ROWS = 8
UPDATES = 10**7


class Case(NamedTuple):
    """One line of the table: a value for each row, in nats."""

    name: str
    true: list[float]
    torch: list[float]
    torchmetrics: list[float]
    ours: list[float]


def true_kl(p_logits: Tensor, q_logits: Tensor) -> list[float]:
    """The KL of exactly these logits, with 50 digits."""
    with mpmath.workdps(50):
        return [float(_true_row(a, b)) for a, b in zip(p_logits.tolist(), q_logits.tolist(), strict=True)]


def _true_row(a: list[float], b: list[float]) -> mpmath.mpf:
    pairs = [(mpmath.mpf(x), mpmath.mpf(y)) for x, y in zip(a, b, strict=True) if x != -math.inf]
    p = [mpmath.exp(x) for x, _ in pairs]
    total_p, total_q = mpmath.fsum(p), mpmath.fsum(mpmath.exp(y) for y in b)
    gain = mpmath.fsum(w * (x - y) for w, (x, y) in zip(p, pairs, strict=True)) / total_p
    return gain - mpmath.log(total_p) + mpmath.log(total_q)


def compare(name: str, p_logits: Tensor, q_logits: Tensor) -> Case:
    """All three on the same float32 logits."""
    log_p, log_q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    rows = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    theirs, ours = torchmetrics.KLDivergence(reduction="none"), KLDivergence(log_prob=True, reduction="none")
    theirs.update(p_logits.softmax(-1), q_logits.softmax(-1))
    ours.update(p_logits, q_logits)
    values = (rows, theirs.compute(), ours.compute())
    return Case(name, true_kl(p_logits, q_logits), *(x.tolist() for x in values))


def near(classes: int, noise: float) -> tuple[Tensor, Tensor]:
    """Logits, and the same with a little noise: KL is about half the square of the noise."""
    generator = torch.Generator().manual_seed(classes)
    p = 3 * torch.randn(ROWS, classes, generator=generator)
    return p, p + noise * torch.randn(ROWS, classes, generator=generator)


def masked(both: bool) -> tuple[Tensor, Tensor]:
    """Logits with half of the classes ruled out by -inf: the same in p and q, or in p alone."""
    p, q = near(1000, 0.1)
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
    true = true_kl(p.double().log(), q.double().log())
    return Case(f"3 classes, {UPDATES:,} updates", true, [], [float(total) / UPDATES], [ours.compute().item()])


def cases() -> Iterator[Case]:
    yield compare("10 classes", *near(10, 1.1e-2))
    yield compare("32,000 classes", *near(32_000, 1e-3))
    yield compare("128,256 classes", *near(128_256, 1e-4))
    yield compare("1000 classes, half of them -inf in p and q", *masked(both=True))
    yield compare("1000 classes, half of them -inf in p", *masked(both=False))
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


def main() -> None:
    print("| Case | true KL | `F.kl_div` | torchmetrics | torchdivergence |")
    print("|---|---|---|---|---|")
    for name, true, *values in cases():
        print("|", " | ".join([name, f"{math.fsum(true) / len(true):.3g}", *(cell(x, true) for x in values)]), "|")


if __name__ == "__main__":
    main()
