"""A read-only view of one value of a metric that has several."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.exceptions import TorchMetricsUserError

if TYPE_CHECKING:
    from torchdivergence._metrics.dict_metric import DictMetric


class MetricView(Metric):
    """One value of a metric with several values, for ``LightningModule.log`` and monitors.

    It can be computed, and its reset resets the parent. It refuses updates: two views in a collection would otherwise
    accumulate each row twice.
    """

    is_differentiable = False
    full_state_update = False
    _parent: "DictMetric"

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
