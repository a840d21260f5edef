"""A metric with several named values, which is a mapping from names to views of single values.

Its statistics are a list: each is a part of the state, and the named values that are read from it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdivergence._inputs.settings import NanPolicy
from torchdivergence._metrics.row_evaluator import RowEvaluator
from torchdivergence._metrics.single_state import SingleStateMetric
from torchdivergence._metrics.view import MetricView
from torchdivergence._report.named_values import COUNTS, all_nan, to_json
from torchdivergence._states.part import InvalidCount, NamedParts, Part
from torchdivergence._states.sequences import PartsAndRecords, SequenceRecords

_INVALID = "invalid"


def _no_values(_: Any) -> dict[str, float]:
    return {}


def _no_names(_: Any) -> list[str]:
    return []


class Statistic(NamedTuple):
    """A part of the state, the names of the values that come from it, and how they come from its result."""

    part: Part[Any]
    names: Sequence[str] = ()
    values: Callable[[Any], Mapping[str, float]] = _no_values
    rough: Callable[[Any], Sequence[str]] = _no_names
    """Names of the values that rest on few rows."""


def _invalid_value(invalid: int) -> dict[str, float]:
    return {_INVALID: invalid}


class DictMetric(SingleStateMetric):
    """A metric whose ``compute`` returns a dict of values, each of which can also be logged alone."""

    evaluator: RowEvaluator
    _results: Mapping[str, Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not self.compute_with_cache:
            raise ValueError(
                f"compute_with_cache must be True for {type(self).__name__}: without it each value that is read would "
                "synchronize all processes again."
            )

    def _register_statistics(
        self, state_name: str, statistics: Mapping[str, Statistic], sequences: SequenceRecords | None = None
    ) -> None:
        """Declare the state and the values, and which records of sequences are kept."""
        self._statistics = {**statistics, _INVALID: Statistic(InvalidCount(), [_INVALID], _invalid_value)}
        parts = {name: statistic.part for name, statistic in self._statistics.items()}
        self._parts = NamedParts(parts) if sequences is None else PartsAndRecords(parts, sequences)
        self._register_state(state_name, self._parts)
        names = [name for statistic in self._statistics.values() for name in statistic.names]
        names.sort(key=lambda name: COUNTS.index(name) if name in COUNTS else -1)  # counts come last
        self._views = torch.nn.ModuleDict({name: MetricView(self, name) for name in names})

    @property
    def nan_policy(self) -> NanPolicy:
        """What to do about invalid rows."""
        return self.evaluator.nan_policy

    def _before_compute(self) -> None:
        self.evaluator.emit_warnings()

    def _read(self, state: Tensor) -> Mapping[str, Any]:
        """The result of each statistic."""
        results = self._parts.read(state)
        self.evaluator.enforce_nan_policy(results[_INVALID])
        return results

    def _are_unknown(self, results: Mapping[str, Any]) -> bool:
        """Whether an invalid row makes all values NaN."""
        return bool(results[_INVALID]) and self.nan_policy != "omit"

    def _values_of(self, results: Mapping[str, Any]) -> dict[str, float]:
        """The values by name."""
        found: dict[str, float] = {}
        for name, statistic in self._statistics.items():
            found |= statistic.values(results[name])
        if self._are_unknown(results):
            found = all_nan(found)
        return {name: found[name] for name in self._views if name in found}

    def _finalize(self, state: Tensor) -> dict[str, Tensor]:
        return self._tensors(self._read(state))

    def _tensors(self, results: Mapping[str, Any]) -> dict[str, Tensor]:
        values = self._values_of(results)
        together = torch.tensor(
            list(values.values()), dtype=torch.float64, device=self.device
        )  # one copy to the device
        return dict(zip(values, together.unbind(), strict=True))

    def compute(self) -> dict[str, Tensor]:
        """The values over all rows since the last reset, on all processes."""
        self._results = self._read(self._as_tensor(self._live_state))
        return self._tensors(self._results)

    def _synced_results(self) -> Mapping[str, Any]:
        """The results behind the computed values. This synchronizes the processes if ``compute`` has to."""
        self.compute()
        return self._results

    def forward_value(self, name: str) -> Tensor | None:
        """One of the values that ``forward`` returned last."""
        cache = self._forward_cache
        return None if cache is None else cache.get(name)

    def describe_value(self, name: str) -> str:
        """Name and number of a value, if it was computed. This never synchronizes processes."""
        values = self._computed
        return f"{name}={float(values[name]):.6g}" if isinstance(values, dict) and name in values else name

    def keys(self) -> Iterable[str]:
        """Names of the values."""
        return self._views.keys()

    def values(self) -> Iterable[MetricView]:
        """A view of each value."""
        return [self[name] for name in self.keys()]

    def items(self) -> Iterable[tuple[str, MetricView]]:
        """Names and views, as ``LightningModule.log_dict`` needs them."""
        return [(name, self[name]) for name in self.keys()]

    def __getitem__(self, name: str) -> MetricView:  # type: ignore[override]
        """A view of one value."""
        if name not in self._views:
            raise KeyError(f"there is no value {name!r}; the values are {', '.join(self._views)}.")
        return self._views[name]  # type: ignore[return-value]

    def __contains__(self, name: object) -> bool:
        return name in list(self.keys())

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.keys())

    def __len__(self) -> int:
        return len(list(self.keys()))

    def __repr__(self) -> str:
        """Name and settings, without the views."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def to_dict(self) -> dict[str, float]:
        """The values as plain numbers."""
        return self._values_of(self._synced_results())

    def rough_values(self) -> list[str]:
        """Names of the quantiles that have fewer than 100 rows beyond them: another sample may give quite another."""
        results = self._synced_results()
        return [name for key, statistic in self._statistics.items() for name in statistic.rough(results[key])]

    def to_json(self) -> str:
        """The values as JSON, and in the list "rough" the names of :meth:`rough_values`.

        A number that is not finite becomes a string: "nan", "inf" or "-inf".
        """
        return to_json({**self.to_dict(), "rough": self.rough_values()})
