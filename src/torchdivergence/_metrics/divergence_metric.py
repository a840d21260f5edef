"""The base class of all divergence metrics: rows from an evaluator, accumulated in exact totals."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchdivergence._divergences import DivergenceSpec
from torchdivergence._divergences.docs import metric_doc
from torchdivergence._inputs.names import refuse_other_names
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import Dim, LogProb, NanPolicy, Reduction
from torchdivergence._metrics.row_evaluator import RowEvaluator
from torchdivergence._metrics.shared_pass import SharedPass
from torchdivergence._metrics.single_state import SingleStateMetric, State
from torchdivergence._report.plotting import plot_values, with_unit
from torchdivergence._states.part import RowBatch, weighted
from torchdivergence._states.row_totals import RowTotals, reduce

_TOTALS = RowTotals()


def _setting(name: str) -> Any:
    """A read-only property: a setting cannot be changed after construction."""
    return property(lambda metric: metric.evaluator.given[name], doc=f"The argument ``{name}``.")


def parameter_property() -> Any:
    """A read-only property: the parameter of the divergence."""
    return property(lambda metric: metric.evaluator.parameter, doc="The parameter of the divergence.")


class DivergenceMetric(SingleStateMetric):
    """A divergence of each row, reduced over all rows. A subclass sets ``spec``, which also makes its docstring."""

    spec: ClassVar[DivergenceSpec]
    shared_pass: SharedPass | None = None
    """Set by the collection to which the metric belongs."""
    _parameter: float | None = None
    """Set by a subclass that has one, before this class is initialized."""

    def __init__(
        self,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: Dim = -1,
        temperature: float = 1.0,
        base: float | None = None,
        nan_policy: NanPolicy = "propagate",
        **kwargs: Any,
    ) -> None:
        refuse_other_names(kwargs)
        super().__init__(**kwargs)
        self.evaluator = RowEvaluator(
            self.spec, self._parameter, log_prob, reduction, dim, temperature, base, nan_policy
        )
        keeps_rows = self.evaluator.settings.reduction == "none"
        self._register_state(self.evaluator.state_name, None if keeps_rows else _TOTALS)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "spec" in cls.__dict__:
            cls.__doc__ = metric_doc(cls.spec)
            cls.higher_is_better = cls.spec.higher_is_better

    log_prob = _setting("log_prob")
    reduction = _setting("reduction")
    dim = _setting("dim")
    temperature = _setting("temperature")
    base = _setting("base")

    @property
    def nan_policy(self) -> NanPolicy:
        """The argument ``nan_policy``."""
        return self.evaluator.nan_policy

    def extra_repr(self) -> str:
        """The settings that differ from the defaults."""
        return self.evaluator.describe()

    def __getstate__(self) -> dict[str, Any]:
        """A copy does not take the other metrics of the collection with it; the collection joins its own again."""
        return {**super().__getstate__(), "shared_pass": None}

    @property
    def n_invalid(self) -> int:
        """Number of invalid rows that this process has seen. Reading it waits for the device."""
        state = self.current_state
        return int(state.view(torch.float64).isnan().sum()) if self._part is None else _TOTALS.read(state).invalid

    def update(self, p: Side, q: Side, weights: Tensor | None = None) -> None:
        """Update with a batch of rows. If this raises, the metric is as it was before.

        Args:
            p: First distribution of each row, classes along ``dim``.
            q: Second distribution of each row, same shape as p.
            weights: Weights of the rows, broadcastable to the batch shape (the shape of p without ``dim``).
        """
        self._apply_batch(self._batch_stats(p, q, weights))

    def plot(self, val: Tensor | float | Sequence[Tensor | float] | None = None, ax: Any = None) -> Any:
        """Plot one value (the computed one by default) or a sequence of values. This needs matplotlib.

        Args:
            val: A value of ``compute`` or ``forward``, or a list of them.
            ax: Matplotlib axes to draw on.

        Returns:
            The figure and the axes.
        """
        values = self.compute() if val is None else val
        return plot_values(values, with_unit(self.spec.metric, self.evaluator.unit), ax)

    def _batch_stats(self, p: Side, q: Side | None = None, weights: Tensor | None = None) -> RowBatch:
        if self.shared_pass and (shared := self.shared_pass.batch(self.evaluator.key)):
            return shared
        return self.evaluator(self.state_device, p, q, weights)

    def _accumulate(self, state: State, batch: RowBatch) -> State:
        if isinstance(state, list):  # as bits, which no cast of the module can round
            state.append(weighted(batch.values, batch.weights).flatten().view(torch.int64))
            return state
        return super()._accumulate(state, batch)

    def _finalize(self, state: Tensor) -> Tensor:
        settings, policy = self.evaluator.settings, self.nan_policy
        if self._part is None:
            values = state.view(torch.float64)
            if policy != "propagate":
                invalid = values.isnan()
                self.evaluator.enforce_nan_policy(int(invalid.sum()))
                values = values[~invalid]
            return values / settings.log_base
        totals = _TOTALS.read(state)
        self.evaluator.enforce_nan_policy(totals.invalid)
        if policy == "omit":
            totals = totals._replace(invalid=0)
        value = reduce(totals, settings.reduction, settings.log_base)
        return torch.tensor(value, dtype=torch.float64, device=state.device)

    @property
    def sync_key(self) -> tuple[Any, ...] | None:
        """Metrics of a collection with equal keys are synchronized together; None if this one is not."""
        alone = self._part is None or not self.compute_with_cache or not self._to_sync or self._is_synced
        return None if alone else (self.dist_sync_fn, self.process_group, self.distributed_available_fn)

    def _before_compute(self) -> None:
        self.evaluator.emit_warnings()
        if self.shared_pass and self.sync_key and self.distributed_available_fn():
            self.shared_pass.compute_together(self)
