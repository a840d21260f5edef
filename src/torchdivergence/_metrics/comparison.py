"""What torch and torchmetrics expect of any metric: comparisons, and modules that can be scripted."""

from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.metric import CompositionalMetric


class Comparison(CompositionalMetric):
    """A comparison of a metric, to be computed later: torchmetrics' arithmetic.

    Its truth value is refused. Any object is true, so that ``if metric < 1e-3`` would always hold.
    """

    def __bool__(self) -> bool:
        raise TypeError(
            "a comparison of a metric is a metric and has no truth value: compare the number, metric.compute() < ..."
        )


class ComparableMetric(Metric):
    """A metric whose order comparisons have no truth value, and which a scripted module may hold.

    ``==`` and ``!=`` are torchmetrics' own: ``in`` needs their truth value.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # torch.jit.script would compile properties, too
        cls.__jit_unused_properties__ = [name for name in dir(cls) if isinstance(getattr(cls, name, None), property)]

    def __lt__(self, other: Any) -> Comparison:
        """A metric that computes ``<``."""
        return Comparison(torch.lt, self, other)

    def __le__(self, other: Any) -> Comparison:
        """A metric that computes ``<=``."""
        return Comparison(torch.le, self, other)

    def __gt__(self, other: Any) -> Comparison:
        """A metric that computes ``>``."""
        return Comparison(torch.gt, self, other)

    def __ge__(self, other: Any) -> Comparison:
        """A metric that computes ``>=``."""
        return Comparison(torch.ge, self, other)
