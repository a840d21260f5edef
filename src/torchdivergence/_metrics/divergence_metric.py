"""What all divergences are as metrics: rows joined to accumulators."""

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from torchdivergence import _rows
from torchdivergence._divergences.spec import Generator
from torchdivergence._inputs.arguments import (
    LogProb,
    NanPolicy,
    Reduction,
    Rows,
    check_nan_policy,
    check_rows,
    check_settings,
)
from torchdivergence._inputs.warnings import Watch
from torchdivergence._metrics.single_state import OneStateMetric, State
from torchdivergence._states import superaccumulator as _accumulators
from torchdivergence._states.reductions import reduce


class Companions:
    """The metrics of a collection, which share each batch's pass over the classes, and each synchronisation."""

    def __init__(self, metrics: "list[DivergenceMetric]") -> None:
        self.metrics = metrics
        self.rows: Rows | None = None
        self.values: dict[str, Tensor] = {}

    @contextmanager
    def one_pass(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> Iterator[None]:
        """Within this, the metrics find the values of a batch made, for all of them at once."""
        settings, generators = self.metrics[0]._settings, {m._generator.name: m._generator for m in self.metrics}
        with torch.no_grad():
            rows = check_rows(p, q, weights, settings)
            self.metrics[0]._watch.look(rows, settings.log_prob, self.metrics[0].nan_policy)
            values = _rows.divergences(
                rows.p, rows.q, settings.log_prob, settings.temperature, tuple(generators.values())
            )
        try:
            self.values, self.rows = dict(zip(generators, values, strict=True)), rows
            yield
        finally:
            self.values, self.rows = {}, None

    def compute(self, asked: "DivergenceMetric") -> None:
        """Compute all sums that are synchronised as that of one metric is, with the collectives of that one."""
        metrics = [m for m in self.metrics if m._way_to_sync == asked._way_to_sync and m._computed is None]
        if not metrics:
            return
        gather = asked.dist_sync_fn or gather_all_tensors
        states = gather(torch.stack([m._current for m in metrics]), group=asked.process_group)
        for metric, state in zip(metrics, torch.stack(states).sum(0), strict=True):
            with suppress(ValueError):  # of nan_policy="raise": the metric will meet it again by itself
                metric._computed = metric._read(state)  # type: ignore[assignment]


def _setting(name: str) -> Any:
    """A setting to read: what it decided is not undone by writing it."""
    return property(lambda metric: metric._given[name], doc=f"The ``{name}`` that was given.")


class DivergenceMetric(OneStateMetric):
    """A divergence of each row, reduced over all rows that ever came in."""

    higher_is_better = False
    plot_lower_bound = 0.0

    _companions: Companions | None = None

    def __init__(
        self,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        *,
        dim: int = -1,
        temperature: float = 1.0,
        base: float | None = None,
        nan_policy: NanPolicy = "propagate",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = check_settings(log_prob, reduction, dim, temperature, base, self._generator.in_nats)
        self._given = {
            "log_prob": log_prob,
            "reduction": reduction,
            "dim": dim,
            "temperature": temperature,
            "base": base,
        }
        self.nan_policy = check_nan_policy(nan_policy)
        self._watch = Watch()
        self._keeps_rows = self._settings.reduction == "none"
        kind, (p, q) = "rows" if self._keeps_rows else "sums", self._settings.log_prob
        read = f"log_prob_{p:d}{q:d}_dim{self._settings.dim}_temperature{self._settings.temperature}"
        name = f"{self._generator.name}_{kind}_{read}"
        name = name.replace(".", "_")  # a dot would part it in a state_dict
        self._keep(name, [] if self._keeps_rows else _accumulators.zeros())

    log_prob = _setting("log_prob")
    reduction = _setting("reduction")
    dim = _setting("dim")
    temperature = _setting("temperature")
    base = _setting("base")

    def extra_repr(self) -> str:
        """The settings that are not the usual ones."""
        usual = inspect.signature(DivergenceMetric.__init__).parameters
        given = {**self._given, "nan_policy": self.nan_policy}
        changed = [f"{name}={value!r}" for name, value in given.items() if value != usual[name].default]
        return ", ".join(self._generator.name.split(":")[1:] + changed)

    @property
    @abstractmethod
    def _generator(self) -> Generator:
        """The row of the table."""

    @property
    def n_invalid(self) -> int:
        """How many of the rows that this process has seen are invalid. Reading it waits for the device."""
        state = self._current
        return int(state.view(torch.float64).isnan().sum()) if self._keeps_rows else _accumulators.totals(state).invalid

    def update(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> None:
        """Take a batch of rows in. If this raises, the metric is as it was before.

        Args:
            p: The first distribution of each row, classes along ``dim``.
            q: The second; the shape of p.
            weights: Weights of the rows, broadcastable to the batch shape (that of p without ``dim``).
        """
        self._take(self._evaluate(p, q, weights))

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot one value (by default that of ``compute``) or a sequence of them; needs matplotlib.

        Args:
            val: A value of ``compute`` or ``forward``, or a list of such.
            ax: Matplotlib axes to draw on.

        Returns:
            The figure and the axes.
        """
        return self._plot(val, ax)

    def _evaluate(self, p: Tensor, q: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Rows]:
        shared = self._companions
        if shared and shared.rows:
            return shared.values[self._generator.name], shared.rows
        rows = check_rows(p, q, weights, self._settings)
        log_prob, temperature = self._settings.log_prob, self._settings.temperature
        self._watch.look(rows, log_prob, self.nan_policy)
        return _rows.divergence(rows.p, rows.q, log_prob, temperature, self._generator), rows

    @property
    def _way_to_sync(self) -> tuple[Any, ...] | None:
        """How the sum goes over the processes together with others; None if it goes alone, or not at all."""
        alone = self._keeps_rows or not self.compute_with_cache or not self._to_sync or self._is_synced
        return None if alone else (self.dist_sync_fn, self.process_group, self.distributed_available_fn)

    def _before_compute(self) -> None:
        self._watch.tell()
        if self._companions and self._way_to_sync and self.distributed_available_fn():
            self._companions.compute(self)

    def _add(self, state: State, batch: tuple[Tensor, Rows]) -> State:
        values, rows = batch
        if isinstance(state, list):  # as bits, which no cast of the module can round
            state.append(_accumulators.weigh(values, rows.weights).flatten().view(torch.int64))
            return state
        return _accumulators.add(state, values, rows.weights, rows.items)

    def _read(self, state: Tensor) -> Tensor:
        if self._keeps_rows:
            values = state.view(torch.float64)
            if self.nan_policy != "propagate":
                invalid = values.isnan()
                self._meet(int(invalid.sum()))
                values = values[~invalid]
            return values / self._settings.log_base
        totals = _accumulators.totals(state)
        self._meet(totals.invalid)
        if self.nan_policy == "omit":
            totals = totals._replace(invalid=0)
        value = reduce(totals, self._settings.reduction, self._settings.log_base)
        return torch.tensor(value, dtype=torch.float64, device=state.device)

    def _meet(self, invalid: int) -> None:
        """Raise, if that is the policy and there are invalid rows."""
        if invalid and self.nan_policy == "raise":
            raise ValueError(
                "with nan_policy='raise' every row must be two distributions, but NaN, +inf, a negative probability or "
                f"no mass at all was found in {invalid} of them: mend them, mask them with weights of 0, or leave them "
                "out with nan_policy='omit'."
            )
