"""A read-only view of one value of a metric that has several."""

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchdivergence._metrics.comparison import ComparableMetric, Comparison

if TYPE_CHECKING:
    from torchdivergence._metrics.dict_metric import DictMetric


class MetricView(ComparableMetric):
    """One value of a metric with several values, for ``LightningModule.log`` and monitors.

    It can be computed, and its reset resets the parent. It refuses updates: two views in a collection would otherwise
    accumulate each row twice.
    """

    is_differentiable = False
    full_state_update = False
    __jit_ignored_attributes__: ClassVar[list[str]] = [*Metric.__jit_ignored_attributes__, "_parent", "name"]
    if TYPE_CHECKING:
        _parent: DictMetric

    def __init__(self, parent: "DictMetric", name: str) -> None:
        self.__dict__["_parent"] = parent  # not a submodule: the parent holds this one
        super().__init__(compute_with_cache=False)
        self.name = name

    def update(self, *_: Any, **__: Any) -> None:
        """Refused."""
        raise TorchMetricsUserError(
            f"{self.name!r} is a read-only view of {type(self._parent).__name__}. Call update(), forward() or "
            f"merge_state() on the {type(self._parent).__name__} instead."
        )

    @torch.jit.unused
    def forward(self, *_: Any, **__: Any) -> None:
        """Refused."""
        self.update()

    def merge_state(self, incoming_state: Any) -> None:  # noqa: ARG002
        """Refused."""
        self.update()

    def compute(self) -> Tensor:
        """The value over all rows of the parent; NaN if the parent has no such value."""
        missing = torch.tensor(math.nan, dtype=torch.float64, device=self._parent.device)
        return self._parent.compute().get(self.name, missing)

    def reset(self) -> None:
        """Reset the parent."""
        self._parent.reset()

    def __float__(self) -> float:
        return float(self.compute())

    def __format__(self, spec: str) -> str:
        """The computed number in a format; without one, as by ``repr``."""
        return format(float(self), spec) if spec else repr(self)

    def __repr__(self) -> str:
        """The name, and the number if it was computed. This never synchronizes processes."""
        return f"{type(self).__name__}({self._parent.describe_value(self.name)})"

    def __lt__(self, other: Any) -> Any:
        """Compare the computed numbers; with a metric of another kind this is a metric, as in torchmetrics."""
        return self._compared(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        """See ``<``."""
        return self._compared(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        """See ``<``."""
        return self._compared(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        """See ``<``."""
        return self._compared(operator.ge, other)

    def __eq__(self, other: Any) -> Any:
        """See ``<``."""
        return self._compared(operator.eq, other)

    def __ne__(self, other: Any) -> Any:
        """See ``<``."""
        return self._compared(operator.ne, other)

    __hash__ = Metric.__hash__

    def _compared(self, compare: Callable[[Any, Any], Any], other: Any) -> Any:
        if isinstance(other, MetricView):
            other = other.compute()
        if isinstance(other, Metric):
            return Comparison(getattr(torch, compare.__name__), self, other)
        return bool(compare(self.compute(), other))

    def _wrap_update(self, update: Any) -> Any:
        return update

    def _wrap_compute(self, compute: Any) -> Any:
        return compute

    @property
    def _forward_cache(self) -> Any:
        return self._parent.forward_value(self.name)

    @_forward_cache.setter
    def _forward_cache(self, _: Any) -> None:
        """The parent keeps it."""

    @property
    def _update_count(self) -> int:
        return self._parent.update_count

    @_update_count.setter
    def _update_count(self, _: int) -> None:
        """The parent keeps it."""
