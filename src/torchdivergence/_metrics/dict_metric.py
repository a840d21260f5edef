"""A metric of many values, which is a mapping from their names to metrics of one value each.

It knows how values are handed out, and not what they are.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchdivergence._metrics.single_state import OneStateMetric


class Value(Metric):
    """One value of a metric that has many: what ``LightningModule.log`` and a monitor take.

    It is read, and reset with the whole. To update it is refused: two values of one whole in a collection would take
    each row in twice.
    """

    is_differentiable = False
    full_state_update = False
    _whole: "MappingMetric"

    def __init__(self, whole: "MappingMetric", name: str) -> None:
        self.__dict__["_whole"] = whole  # not as a module of its own: it has this one
        super().__init__(compute_with_cache=False)
        self.name = name

    def update(self, *_: Any, **__: Any) -> None:
        """Refused."""
        raise TorchMetricsUserError(
            f"{self.name!r} is one of the values of a {type(self._whole).__name__}, which share its rows: update that, "
            "call that, merge into that."
        )

    def forward(self, *_: Any, **__: Any) -> None:
        """Refused."""
        self.update()

    def merge_state(self, incoming_state: Any) -> None:  # noqa: ARG002
        """Refused."""
        self.update()

    def compute(self) -> Tensor:
        """The value over everything that the whole has seen."""
        nothing = torch.tensor(math.nan, dtype=torch.float64, device=self._whole.device)
        return self._whole.compute().get(self.name, nothing)

    def reset(self) -> None:
        """Reset the whole."""
        self._whole.reset()

    def _wrap_update(self, update: Any) -> Any:
        return update

    def _wrap_compute(self, compute: Any) -> Any:
        return compute

    @property
    def _forward_cache(self) -> Any:
        cache = self._whole._forward_cache
        return None if cache is None else cache.get(self.name)

    @_forward_cache.setter
    def _forward_cache(self, _: Any) -> None:
        """It is the whole's."""

    @property
    def _update_count(self) -> int:
        return self._whole._update_count

    @_update_count.setter
    def _update_count(self, _: int) -> None:
        """It is the whole's."""


class MappingMetric(OneStateMetric):
    """A metric whose ``compute`` gives a dict, and which maps each name in it to a metric of its value."""

    _summary: Any = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.compute_with_cache:
            raise ValueError(
                f"compute_with_cache must be True for a {type(self).__name__}: its values, read one by one, would each "
                "meet those of the other processes."
            )

    def _name_values(self, names: Iterable[str]) -> None:
        """Declare what ``compute`` may return."""
        self._values = torch.nn.ModuleDict({name: Value(self, name) for name in names})

    @abstractmethod
    def _summarise(self, state: Tensor) -> Any:
        """What a state says, in plain numbers."""

    @abstractmethod
    def _values_of(self, summary: Any) -> dict[str, float]:
        """The values, under their names."""

    def _read(self, state: Tensor) -> dict[str, Tensor]:
        return self._tensors(self._summarise(state))

    def _tensors(self, summary: Any) -> dict[str, Tensor]:
        values = self._values_of(summary)
        return {name: torch.tensor(x, dtype=torch.float64, device=self.device) for name, x in values.items()}

    def compute(self) -> dict[str, Tensor]:
        """The values over everything since the last reset, on all processes."""
        self._summary = self._summarise(self._current)
        return self._tensors(self._summary)

    def _summary_of_all(self) -> Any:
        """What ``compute`` found; on several processes they meet, unless they have done so since the last update."""
        self.compute()
        return self._summary

    def keys(self) -> Iterable[str]:
        """The names of the values."""
        return self._values.keys()

    def values(self) -> Iterable[Value]:
        """A metric for each value."""
        return [self[name] for name in self.keys()]

    def items(self) -> Iterable[tuple[str, Value]]:
        """Names and metrics: what ``LightningModule.log_dict`` asks for."""
        return [(name, self[name]) for name in self.keys()]

    def __getitem__(self, name: str) -> Value:  # type: ignore[override]
        """The metric of one value."""
        if name not in self._values:
            raise KeyError(f"there is no value {name!r}: there are {', '.join(self._values)}.")
        return self._values[name]  # type: ignore[return-value]

    def __contains__(self, name: object) -> bool:
        return name in list(self.keys())

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.keys())

    def __len__(self) -> int:
        return len(list(self.keys()))

    def __repr__(self) -> str:
        """Name and settings, without the metrics of the values."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def to_dict(self) -> dict[str, float]:
        """The values as plain numbers."""
        return self._values_of(self._summary_of_all())

    def to_json(self) -> str:
        """The values as JSON. What is no finite number is a string: "nan", "inf" or "-inf"."""
        values = {name: value if math.isfinite(value) else str(value) for name, value in self.to_dict().items()}
        return json.dumps(values, indent=2)
