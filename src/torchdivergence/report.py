"""The comparison of two language models, token by token, from one state of fixed size."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdivergence import _rows
from torchdivergence._divergences.spec import KL, LOG_MASSES
from torchdivergence._inputs.arguments import (
    LogProb,
    NanPolicy,
    Settings,
    check_num_classes,
    check_rows,
    check_target,
    clip_classes,
)
from torchdivergence._metrics.dict_metric import MappingMetric
from torchdivergence._metrics.single_state import State
from torchdivergence._report import tokens as _tokens
from torchdivergence._report.plotting import plot_report
from torchdivergence._report.table import table
from torchdivergence._report.tokens import TARGET_COLUMNS, TargetSummary
from torchdivergence._report.values import (
    QUANTILES,
    check_quantiles,
    empty_state,
    estimate_names,
    estimate_values,
    join_states,
    split,
    spread_names,
    spread_values,
    unknown,
    valid_weights,
)
from torchdivergence._states import histogram as _quantiles
from torchdivergence._states import profile as _positions
from torchdivergence._states.histogram import Distribution
from torchdivergence._states.moments import Estimate, Moments
from torchdivergence._states.profile import Stretch
from torchdivergence.metrics import KLDivergence

__all__ = ["DivergenceReport"]


class _Batch(NamedTuple):
    """What the tokens of a batch give: float64, ``[*batch]`` or ``[columns, *batch]``; weights of valid rows."""

    rows: Tensor
    targets: Tensor | None
    weights: Tensor
    invalid: Tensor


class Summary(NamedTuple):
    """What a state says, in plain numbers."""

    kl: Estimate
    distribution: Distribution
    top_k: dict[int, Estimate]
    targets: TargetSummary | None
    delta_p: Distribution
    positions: list[Stretch]
    sequences: int
    invalid: int


class DivergenceReport(MappingMetric):
    r"""How far one language model is from another: what llama.cpp prints, for any two PyTorch models, with error bars.

    For each token it compares p, the reference, with q, the candidate: the divergence D(p‖q) in nats; whether they
    agree on the likeliest tokens; and if the right token is known, what probability each gives to it. All of it is
    summed up in one state of 1 MB, whatever the number of tokens, with the same bits for every batch size, order and
    number of processes.

    Args:
        log_prob: True for logits or log-probabilities, False for probabilities; or a pair for p and q.
        top_k: For which k the k likeliest tokens are compared. (Equal logits: for k = 1 the first counts as the
            likeliest, for others it is :func:`torch.topk` that chooses.)
        num_classes: How many classes count, if the last ones of p or q are padding; p and q may differ in these.
        temperature: What the logits of both are divided by.
        ignore_index: A target of this value takes its row out of the report.
        quantiles: Which quantiles, each strictly between 0 and 1.
        nan_policy: What becomes of rows that hold NaN, +inf, a negative probability, or that have no mass:
            "propagate" makes all values NaN, "omit" leaves such rows out, "raise" raises in ``compute``.
        kwargs: Those of :class:`torchmetrics.Metric`.

    Shapes:
        ``update(p, q, target=None, weights=None)``: p and q ``[*batch, classes]``, target and weights ``[*batch]``. The
        first batch dimension counts sequences: of ``[texts, tokens, classes]`` a text is one. A target is the index of
        the token that came. A row of weight zero is left out; weights broadcast.

    Returns:
        ``compute`` gives a dict of float64 numbers. With W sums of weights, m means over rows:

        - ``kl_mean``, ``kl_min``, ``kl_median``, ``kl_p99_9`` (and other quantiles), ``kl_max``;
        - ``top_1_agreement`` (and other k): the share of the k likeliest tokens of p that are among those of q;
        - ``rows``, ``sequences``, ``infinite``, ``invalid``: how many; a row of infinite divergence counts;

        and if a target was given:

        - ``perplexity_p``, ``perplexity_q``: :math:`e^{m(-\log p_t)}`, and with q; ``perplexity_ratio``, of q over p,
          ``perplexity_difference``, of q less p, ``log_perplexity_ratio``; ``log_perplexity_correlation``, of
          :math:`\log p_t` and :math:`\log q_t` over the rows (by the squares of their weights);
        - ``delta_p_mean``, ``delta_p_rms``: of :math:`q_t - p_t`, also ``delta_p_min``, ``delta_p_median`` and so on.

        Each mean, and what is a function of means, stands with two errors: ``kl_standard_error`` if rows were
        independent, as llama.cpp has it (binomial for an agreement, the delta method for perplexities), and
        ``kl_clustered_standard_error`` if sequences are, whatever the tokens within one (CR1).

        ``report["kl_p99"]`` is a metric of that value alone, for ``LightningModule.log`` or a monitor;
        ``LightningModule.log_dict(report)`` logs all. ``print(report)`` shows a table.

    Raises:
        ValueError: From ``update``: shapes differ, a target is no class, or there are fewer classes than
            ``num_classes``. The report is then as it was before.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceReport
        >>> report = DivergenceReport()
        >>> logits = 3 * torch.randn(4, 250, 20, generator=torch.Generator().manual_seed(0))
        >>> report.update(logits, logits.bfloat16(), target=logits.argmax(-1))
        >>> values = report.compute()
        >>> print(f"{values['kl_mean']:.1e} ± {values['kl_standard_error']:.0e}")
        1.4e-05 ± 5e-07
        >>> print(f"{values['top_1_agreement']:.3f} ± {values['top_1_agreement_standard_error']:.3f}")
        0.995 ± 0.002

    Source: the table that ``llama-perplexity --kl-divergence`` of llama.cpp prints, and its formulas for errors; for
    the clustered ones A. C. Cameron and D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum.
    Resour. 50 (2015), section II.
    """

    def __init__(
        self,
        log_prob: LogProb = True,
        *,
        top_k: Sequence[int] = (1,),
        num_classes: int | None = None,
        temperature: float = 1.0,
        ignore_index: int = -100,
        quantiles: Sequence[float] = QUANTILES,
        nan_policy: NanPolicy = "propagate",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kl = KLDivergence(log_prob, temperature=temperature, nan_policy=nan_policy)
        self.top_k, self.num_classes, self.ignore_index = (
            _tokens.check_top_k(top_k),
            check_num_classes(num_classes),
            ignore_index,
        )
        self.quantiles = check_quantiles(quantiles)
        self._of_rows, self._of_targets = Moments(1 + len(self.top_k)), Moments(len(TARGET_COLUMNS))
        counts, limits = (_quantiles.BINS, 2 * _quantiles.BINS), 2 * _quantiles.LIMITS
        self._sizes = self._of_rows.size, self._of_targets.size, *counts, _positions.SIZE, 1, limits
        name = f"{self._kl._name}_report_top_{'_'.join(map(str, self.top_k))}_of_{num_classes}_but_{ignore_index}"
        self._keep(name.replace("-", "minus"), empty_state(self._sizes), partial(join_states, limits=limits))
        agreements = [name for k in self.top_k for name in estimate_names(f"top_{k}_agreement")]
        names = [*estimate_names("kl_mean", "kl_"), *spread_names(self.quantiles, "kl_"), *agreements]
        self._names_of_targets = [*TargetSummary.names(), *spread_names(self.quantiles, "delta_p_")]
        self._name_values([*names, "rows", "sequences", "infinite", "invalid", *self._names_of_targets])

    def extra_repr(self) -> str:
        """What is compared."""
        return f"{self._kl!r}, top_k={self.top_k}, num_classes={self.num_classes}"

    @property
    def nan_policy(self) -> NanPolicy:
        """The ``nan_policy`` that was given."""
        return self._kl.nan_policy

    def update(self, p: Tensor, q: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Take a batch of rows in. If this raises, the report is as it was before.

        Args:
            p: The reference, ``[*batch, classes]``.
            q: The candidate, likewise.
            target: The index of the token that came, ``[*batch]``.
            weights: Weights of the rows, broadcastable to the batch shape; a bool mask, for one.
        """
        self._take(self._evaluate(p, q, target, weights))

    def _before_compute(self) -> None:
        self._kl._watch.tell()

    @torch.no_grad()
    def _evaluate(self, p: Tensor, q: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> _Batch:
        settings: Settings = self._kl._settings
        rows = check_rows(*clip_classes(p, q, self.num_classes), weights, settings)
        if target is not None:
            check_target(target, rows.p, self.ignore_index)
            kept = torch.ones_like(target, dtype=torch.float64) if rows.weights is None else rows.weights
            rows = rows._replace(weights=kept.masked_fill(target.long() == self.ignore_index, 0.0))
        self._kl._watch.look(rows, settings.log_prob, self.nan_policy)
        terms = KL.terms if target is None else KL.terms + LOG_MASSES
        found = _rows.sums(rows.p, rows.q, settings.log_prob, settings.temperature, terms)
        kl = found[KL.terms[0]]
        columns = None
        if target is not None:
            columns = _tokens.target_columns(rows, target, [found[term] for term in LOG_MASSES], settings)
        agreements = [_tokens.agreement(rows.p, rows.q, k) for k in self.top_k]
        return _Batch(torch.stack([kl, *agreements]), columns, *valid_weights(kl, rows.weights))

    def _add(self, state: State, batch: _Batch) -> Tensor:
        new: Tensor = state.clone()  # type: ignore[union-attr]
        of_rows, of_targets, kl_counts, delta_counts, positions, invalid, limits = split(new, self._sizes)
        rows, targets, weights, more_invalid = batch
        self._of_rows.add_(of_rows, rows, weights)
        _quantiles.count_(kl_counts, limits[:2], rows[0], weights > 0)
        if rows[0].dim() > 1:
            _positions.add_(positions, rows[0].where(weights > 0, 0.0), weights)
        if targets is not None:
            self._of_targets.add_(of_targets, targets, weights)
            delta_p = targets[TARGET_COLUMNS.index("delta_p")]
            _quantiles.count_(delta_counts, limits[2:], delta_p, (weights > 0) & ~delta_p.isnan())
        invalid += more_invalid
        return new

    def _summarise(self, state: Tensor) -> Summary:
        of_rows, of_targets, kl_counts, delta_counts, positions, invalid, limits = split(state.cpu(), self._sizes)
        self._kl._meet(int(invalid))
        kl, *agreements = self._of_rows.read(of_rows)
        with_target, _ = self._of_targets.counts(of_targets)
        return Summary(
            kl=kl,
            distribution=Distribution(kl_counts, limits[:2]),
            top_k=dict(zip(self.top_k, agreements, strict=True)),
            targets=TargetSummary.of(self._of_targets.read(of_targets)) if with_target else None,
            delta_p=Distribution(delta_counts, limits[2:]),
            positions=_positions.read(positions),
            sequences=self._of_rows.counts(of_rows)[1],
            invalid=int(invalid),
        )

    def _values_of(self, summary: Summary) -> dict[str, float]:
        values = estimate_values(summary.kl, "kl_mean", "kl_")
        values |= spread_values(summary.distribution, self.quantiles, "kl_")
        for k, agreement in summary.top_k.items():
            values |= estimate_values(agreement, f"top_{k}_agreement")
        if summary.targets:
            values |= summary.targets.values() | spread_values(summary.delta_p, self.quantiles, "delta_p_")
        if summary.invalid and self.nan_policy != "omit":
            values = unknown(values)
        found = summary.distribution
        counts = {
            "rows": found.total,
            "sequences": summary.sequences,
            "infinite": found.infinite,
            "invalid": summary.invalid,
        }
        return {**values, **counts}

    def keys(self) -> list[str]:
        """The names of the values that there are: of targets, once this process has seen one."""
        state = split(getattr(self, self._name), self._sizes)
        targets, _ = self._of_targets.counts(state[1])
        return [name for name in self._values if targets or name not in self._names_of_targets]

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """Draw a histogram of the divergences of rows, and their mean by the place in the sequence; needs matplotlib.

        Marked are the median, the 99 % quantile and the maximum. Rows of divergence 0 have no place on the logarithmic
        axis: the legend tells their share.

        Args:
            axes: A pair of matplotlib's axes to draw on, as this returns it: to lay several reports over each other.
            label: What the legend calls this report.

        Returns:
            The figure and the pair of axes.
        """
        return plot_report(self._summary_of_all(), axes, label)

    def __str__(self) -> str:
        """A table of everything; on several processes they meet for it, unless ``compute`` was called before."""
        return table(self.to_dict(), self.quantiles)
