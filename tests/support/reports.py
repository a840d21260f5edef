"""Reports and statistics, and logits and tokens for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.support.definitions import near
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence

TEXTS, TOKENS, CLASSES = 6, 40, 30
Numbers = dict[str, float]
ROUNDING = 2.0**-52
"""The relative difference of means: a metric rounds the sum and the quotient, statistics only the quotient."""


def texts(noise: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of two models for some texts, and the target tokens."""
    p, q = near((TEXTS, TOKENS, CLASSES), 3.0, noise, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    target = torch.multinomial(p.softmax(-1).flatten(0, 1), 1, generator=generator).view(TEXTS, TOKENS)
    return p, q, target


def other_candidate() -> Tensor:
    """Logits of another candidate for the reference of ``texts()``, with a little more noise."""
    return texts(noise=0.31, seed=3)[1] - texts(seed=3)[0] + texts()[0]


def short_texts() -> tuple[Tensor, Tensor, Tensor]:
    """The same for six texts of nine tokens."""
    generator = torch.Generator().manual_seed(0)
    p, q = 3 * torch.randn(2, 6, 9, 8, generator=generator)
    return p, p + 0.1 * q, torch.randint(0, 8, (6, 9), generator=generator)


def spread_pair(shape: tuple[int, ...] = (7, 11, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose divergences differ by orders of magnitude, between sequences too."""
    p, q = near(shape, 3.0, 1.0, seed=seed)
    scale = torch.logspace(-3, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    return p, p + (q - p) * scale


def report_values(*args: Tensor, **settings: Any) -> Numbers:
    """The values of a report on a single batch."""
    report = DivergenceReport(**settings)
    report.update(*args)
    return report.to_dict()


def statistics(**settings: Any) -> DivergenceStatistics:
    return DivergenceStatistics(KLDivergence(log_prob=True), **settings)


MAKE: dict[str, Callable[..., Any]] = {
    "report": lambda **settings: DivergenceReport(top_k=[1, 2], **settings),
    "kept": lambda **settings: DivergenceReport(keep_sequences=True, worst=5, **settings),
    "statistics": statistics,
}


def arguments(name: str, texts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What ``update`` of a report or of statistics takes."""
    return texts[:2] if name == "statistics" else texts


def all_values(metric: Any) -> dict[str, Any]:
    """All that a report or statistics returns, with the records of sequences and the worst rows."""
    values: dict[str, Any] = metric.to_dict()
    if isinstance(metric, DivergenceReport) and metric.keep_sequences:
        keys, weights, sums = metric.sequence_sums()
        values |= {"worst": list(metric.worst()), "keys": keys.tolist(), "weights": weights.tolist()}
        values |= {f"sums of {name}": x.tolist() for name, x in sums.items()}
    return values


def after_texts(name: str, texts: tuple[Tensor, ...]) -> Any:
    metric = MAKE[name]()
    if len(texts[0]):
        metric.update(*arguments(name, texts))
    return metric


def kept_report(*args: Tensor, batches: list[list[int]] | None = None, **settings: Any) -> DivergenceReport:
    """A report that keeps sequences and the worst rows, updated with some of the texts at a time."""
    report = DivergenceReport(**{"keep_sequences": True, "worst": 7, **settings})
    for texts in batches or [list(range(len(args[0])))]:
        report.update(*(x[texts] for x in args))
    return report
