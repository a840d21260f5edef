"""The metrics: rows joined to accumulators."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from torchdivergence import _accumulators, _generators, _rows
from torchdivergence._inputs import LogProb, NanPolicy, Reduction, Rows, check_nan_policy, check_rows, check_settings
from torchdivergence._one_state import OneStateMetric, State
from torchdivergence._reductions import reduce

__all__ = ["KLDivergence"]


class _DivergenceMetric(OneStateMetric):
    """A divergence of each row, reduced over all rows that ever came in."""

    higher_is_better = False
    plot_lower_bound = 0.0

    _generator: ClassVar[_generators.Generator]

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
        self._settings = check_settings(log_prob, reduction, dim, temperature, base)
        self.log_prob, self.reduction, self.dim = log_prob, reduction, dim
        self.temperature, self.base = temperature, base
        self.nan_policy = check_nan_policy(nan_policy)
        self._keeps_rows = self._settings.reduction == "none"
        kind, (p, q) = "rows" if self._keeps_rows else "sums", self._settings.log_prob
        name = f"{self._generator.name}_{kind}_log_prob_{p:d}{q:d}_dim{dim}_temperature{self._settings.temperature}"
        self._keep(name, [] if self._keeps_rows else _accumulators.zeros())

    @property
    def n_invalid(self) -> int:
        """How many of the rows that this process has seen are invalid. Reading it waits for the device."""
        return self._count_invalid(self._current)

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
        rows = check_rows(p, q, weights, self._settings)
        log_prob, temperature = self._settings.log_prob, self._settings.temperature
        return _rows.divergence(rows.p, rows.q, log_prob, temperature, self._generator), rows

    def _add(self, state: State, batch: tuple[Tensor, Rows]) -> State:
        values, rows = batch
        if isinstance(state, list):  # as bits, which no cast of the module can round
            state.append(_accumulators.weigh(values, rows.weights).flatten().view(torch.int64))
            return state
        return _accumulators.add(state, values, rows.weights, rows.items)

    def _count_invalid(self, state: Tensor) -> int:
        return int(state.view(torch.float64).isnan().sum()) if self._keeps_rows else _accumulators.totals(state).invalid

    def _read(self, state: Tensor) -> Tensor:
        if self.nan_policy == "raise" and (invalid := self._count_invalid(state)):
            raise ValueError(
                "with nan_policy='raise' every row must be two distributions, but NaN, +inf, a negative probability or "
                f"no mass at all was found in {invalid} of them: mend them, mask them with weights of 0, or leave them "
                "out with nan_policy='omit'."
            )
        omit = self.nan_policy == "omit"
        if self._keeps_rows:
            values = state.view(torch.float64)
            return (values[~values.isnan()] if omit else values) / self._settings.log_base
        totals = _accumulators.totals(state)
        value = reduce(
            totals._replace(invalid=0) if omit else totals, self._settings.reduction, self._settings.log_base
        )
        return torch.tensor(value, dtype=torch.float64, device=state.device)


class KLDivergence(_DivergenceMetric):
    r"""The Kullback-Leibler divergence of p from q, over all batches and processes.

    .. math:: D(p \| q) = \sum_i p_i \log \frac{p_i}{q_i}

    A drop-in for ``torchmetrics.KLDivergence``, with the same order of arguments. Each row is normalised first.
    Rows are as accurate as those of :func:`torchdivergence.functional.kl_divergence` and their sum is exact: the
    value has the same bits for every batch size, order and number of processes.

    Args:
        log_prob: False for probabilities or counts, which need not sum to 1; True for log-probabilities or
            logits, to which any constant may be added. A pair of bools says it for p and for q.
        reduction: What becomes of the rows:

            - ``"mean"``: their mean, with the weights;
            - ``"batchmean"``: their sum over the number of items, those along the first batch dimension, as in
              :class:`torch.nn.KLDivLoss`;
            - ``"sum"``: their sum;
            - ``"none"`` or None: nothing, the rows come back in order, flat. This state grows with the rows.
        dim: The class dimension.
        temperature: What the logits of both p and q are divided by before they are normalised, as in distillation;
            only where both are logarithms. The value is that of softmax(logits / T): there is no factor T**2.
        base: The unit: None for nats, 2 for bits, 10 for bans.
        nan_policy: What becomes of invalid rows, those that hold NaN, a negative probability or +inf, or that
            have no mass at all:

            - ``"propagate"``: the value is NaN;
            - ``"omit"``: they are left out, and ``n_invalid`` tells how many;
            - ``"raise"``: ``compute`` raises. (``update`` does not wait for the device to look.)
        kwargs: Those of :class:`torchmetrics.Metric`.

    Shapes:
        ``update(p, q, weights=None)``: p and q of one shape with the classes along ``dim``, any number of batch
        dimensions, any floating-point dtype (or integer counts); weights that broadcast to the batch shape, bool,
        integer or floating point. A row of weight zero is left out whatever it holds; under ``"none"`` it is 0.

    Returns:
        ``compute`` gives float64, a single number unless the reduction is ``"none"``. It is infinite where
        q = 0 < p for a class of some row, and NaN before the first update.

    Raises:
        TypeError: From ``update``: p or q is no real tensor, or announced as logarithms and not floating point.
        ValueError: From ``update``: shapes or devices differ, weights do not broadcast or are negative. From
            ``compute``: invalid rows under ``nan_policy="raise"``.
        IndexError: From ``update``: there is no dimension ``dim``.

    Example:
        >>> import torch
        >>> from torchdivergence import KLDivergence
        >>> kl = KLDivergence()
        >>> kl.update(torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]]))
        >>> kl.compute()
        tensor(0.0853, dtype=torch.float64)

        Logits of a language model, with a mask over the tokens:

        >>> kl = KLDivergence(log_prob=True)
        >>> teacher = torch.zeros(2, 3, 5)
        >>> student = torch.zeros(2, 3, 5).index_fill(-1, torch.tensor(0), 1.0)
        >>> kl.update(teacher, student, weights=torch.tensor([[True, True, False], [True, False, False]]))
        >>> kl.compute()
        tensor(0.0954, dtype=torch.float64)

    Source: S. Kullback and R. A. Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), eq. 2.4.
    """

    _generator = _generators.KL
