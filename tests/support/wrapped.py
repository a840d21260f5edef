"""Metrics in torchmetrics' wrappers, arithmetic and collections, with the values to expect."""

from collections.abc import Callable, Sequence
from operator import sub
from typing import Any, NamedTuple

import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import MinMaxMetric, MultitaskWrapper, Running

from tests.support.helpers import Batch, assert_all_same, concatenated, pair
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

BATCHES = [pair(rows, seed) for seed, rows in enumerate([5, 3, 1, 4, 2, 6])]


class Wrapped(NamedTuple):
    """A wrapper, and its values over all rows as a function of p and q."""

    make: Callable[[], torch.nn.Module]
    value: Callable[[Tensor, Tensor], Tensor | dict[str, Tensor]]

    def check(self, value: Tensor | dict[str, Tensor], batches: Sequence[Batch]) -> None:
        expected = self.value(*concatenated(batches))
        values, truths = (x if isinstance(x, dict) else {"value": x} for x in (value, expected))
        assert_all_same({name: values[name] for name in truths}, truths)


def update(wrapper: Any, batches: Sequence[Batch]) -> Any:
    for p, q in batches:
        wrapper.update(*({"task": p}, {"task": q}) if isinstance(wrapper, MultitaskWrapper) else (p, q))
    return wrapper


def kl_and_tv() -> tuple[KLDivergence, TotalVariationDistance]:
    """Sums, which reveal rows that count twice; a mean would not."""
    return KLDivergence(reduction="sum"), TotalVariationDistance(reduction="sum")


def sums(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    return kl_divergence(p, q, reduction="sum"), total_variation_distance(p, q, reduction="sum")


def tracker() -> MetricTracker:
    made = MetricTracker(kl_and_tv()[0])
    made.increment()
    return made


def nested() -> MetricCollection:
    """Collections in a collection: one metric occurs twice, and one is from torchmetrics."""
    kl, tv = kl_and_tv()
    inner = MetricCollection({"kl": kl.clone(), "bits": KLDivergence(reduction="sum", base=2)}, prefix="in_")
    foreign = MetricCollection([torchmetrics.KLDivergence()], prefix="foreign_")
    return MetricCollection([inner, DivergenceCollection([kl, tv]), foreign])


def nested_sums(p: Tensor, q: Tensor) -> dict[str, Tensor]:
    (kl, tv), bits = sums(p, q), kl_divergence(p, q, reduction="sum", base=2)
    return {"in_kl": kl, "in_bits": bits, "KLDivergence": kl, "TotalVariationDistance": tv}


WRAPPED = {
    "running": Wrapped(lambda: Running(kl_and_tv()[0], window=8), lambda p, q: sums(p, q)[0]),
    "min and max": Wrapped(
        lambda: MinMaxMetric(kl_and_tv()[0]), lambda p, q: dict.fromkeys(("raw", "min", "max"), sums(p, q)[0])
    ),
    "task": Wrapped(lambda: MultitaskWrapper({"task": kl_and_tv()[0]}), lambda p, q: {"task": sums(p, q)[0]}),
    "tracker": Wrapped(tracker, lambda p, q: sums(p, q)[0]),
    "a - b": Wrapped(lambda: sub(*kl_and_tv()), lambda p, q: sub(*sums(p, q))),
    "abs(a) / 3": Wrapped(lambda: abs(kl_and_tv()[0]) / 3, lambda p, q: sums(p, q)[0] / 3),
    "nested": Wrapped(nested, nested_sums),
}
