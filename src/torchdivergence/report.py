"""Comparison of two language models, token by token, from one state of fixed size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, no_grad

from torchdivergence._divergences import EXPECTED_ACCEPTANCE, KL, LOG_MASSES, TOP_CLASSES
from torchdivergence._inputs.keys import check_keys, keys_of
from torchdivergence._inputs.placement import own_rows
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import (
    LogProb,
    NanPolicy,
    check_count,
    check_equal_settings,
    check_flag,
    check_integer,
    check_labels,
    check_num_classes,
    check_parameter,
    check_power,
    check_quantiles,
    check_top_k,
)
from torchdivergence._inputs.tensors import check_target, clip_classes
from torchdivergence._metrics.dict_metric import Statistic
from torchdivergence._metrics.report_statistics import OF_TARGETS, mean_columns, report_statistics
from torchdivergence._metrics.row_evaluator import RowEvaluator
from torchdivergence._metrics.saved_metric import SavedMetric
from torchdivergence._report.comparison import PairedComparison, compared_columns
from torchdivergence._report.named_values import QUANTILES
from torchdivergence._report.paired_means import MeanDifference
from torchdivergence._report.plotting import plot_report
from torchdivergence._report.table import table
from torchdivergence._report.worst_table import WorstRowTable
from torchdivergence._rows.by_blocks import by_blocks
from torchdivergence._rows.tokens import agreement_columns, target_columns
from torchdivergence._states.part import DIVERGENCE, RowBatch
from torchdivergence._states.sequences import SEQUENCES, SequenceRecords, SequenceSums, check_pairs
from torchdivergence._states.worst import WORST, WorstRow, WorstRows

__all__ = ["DivergenceReport", "MeanDifference", "PairedComparison", "SequenceSums", "WorstRow"]

_OF_ROWS = ("log_prob", "temperature", "top_k", "num_classes", "ignore_index")
"""The settings that decide the values of a row."""

_ACCEPTANCE = EXPECTED_ACCEPTANCE.function


class DivergenceReport(SavedMetric):
    r"""Comparison of two language models: the statistics that llama.cpp prints, for any two PyTorch models.

    For each token, p is the reference and q the candidate. The report covers KL(p‖q) in nats, the agreement on the most
    likely tokens, the expected acceptance rate of speculative decoding, and, if the target token is known, its
    probability in p and q, and which of the two predicts it more often. Means have error bars. The state has a fixed
    size of 1.4 MB, whatever the number of tokens, and the same bits for every batch size, order and number of
    processes. Two reports on the same texts can be compared with each other.

    Args:
        log_prob: True for logits or log-probabilities, False for probabilities; or a pair for p and q.
        top_k: Values of k for which the k most likely tokens are compared. (Among equal logits, k = 1 takes the first
            one, and other k leave the choice to :func:`torch.topk`.)
        num_classes: Number of classes that are not padding, if the last ones of p or q are; p and q may differ in their
            numbers of classes.
        temperature: Temperature of both: softmax(logits / temperature).
        ignore_index: Rows with this target are ignored.
        quantiles: Quantiles to compute, each strictly between 0 and 1.
        confidence: Level of the confidence intervals, strictly between 0 and 1.
        nan_policy: What to do about rows that hold NaN, +inf or a negative probability, or have no mass: "propagate"
            makes all values NaN, "omit" ignores such rows, "raise" raises in ``compute``.
        keep_sequences: Whether to keep sums over each sequence, which :meth:`compare` needs. The state then grows by
            ``8 * (12 + len(top_k))`` bytes a sequence, 104 by default, and every update copies it.
        worst: Number of rows of the largest divergence that :meth:`worst` returns.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Shapes:
        ``update(p, q, target=None, weights=None, keys=None)``: p and q ``[*batch, classes]``, target and weights
        ``[*batch]``. The items of the first batch dimension are the sequences, texts for ``[texts, tokens, classes]``,
        and keys are one integer for each. A target is the index of the next token. A row of weight zero is ignored;
        weights broadcast.

    Returns:
        A dict of float64 numbers from ``compute``, with means m over rows.

        - ``kl_mean``, ``kl_min``, ``kl_median``, ``kl_p99_9`` (and other quantiles), ``kl_max``;
        - ``top_1_agreement`` (and other k): the share of the k most likely tokens of p that
          are among those of q;
        - ``expected_acceptance``: the probability that a token drafted from q is accepted by speculative decoding with
          the target p, :math:`m(\sum_i \min(p_i, q_i))`;
        - ``rows``, ``sequences``, ``infinite``, ``invalid``: counts; ``rows`` includes rows of infinite divergence;

        and if targets were passed, with the target t:

        - ``accuracy_p``, ``accuracy_q``: share of rows whose most likely token is t; ``accuracy_difference`` (q - p);
        - ``both_correct``, ``worsened``, ``improved``, ``both_wrong_differently``: the shares of rows where the most
          likely tokens of p and q are both t, that of p only, that of q only, and neither, while they differ from each
          other. ``accuracy_difference`` is ``improved`` minus ``worsened``;
        - ``mcnemar_p_value``: of McNemar's exact two-sided test that p and q have the same accuracy,
          :math:`\min(1, 2 P(X \le \min(b, c)))` with X binomial(b + c, 1/2), for b worsened and c improved rows; 1 if
          there are none. A row of positive weight counts once. The test takes rows as independent. If tokens of a
          sequence depend on each other, trust the interval of ``accuracy_difference`` instead;
        - ``perplexity_p``, ``perplexity_q``: :math:`e^{m(-\log p_t)}`, and with q; ``perplexity_ratio`` (q / p),
          ``perplexity_difference`` (q - p), ``log_perplexity_ratio``; ``log_perplexity_correlation``, the correlation
          of :math:`\log p_t` and :math:`\log q_t` over rows (weighted by squared weights);
        - ``delta_p_mean``, ``delta_p_rms``: mean and root mean square of :math:`q_t - p_t`; also ``delta_p_min``,
          ``delta_p_median`` and so on.

        Each mean, and each function of means, has two errors: ``<value>_standard_error``, valid if rows are
        independent, as in llama.cpp (binomial for an agreement, delta method for perplexities), and
        ``<value>_clustered_standard_error``, clustered by sequence (CR1). ``<value>_lower`` and ``<value>_upper`` are
        the confidence interval from the clustered one, with Student's t distribution. It is symmetric on the scale of
        log(x) for ``kl_mean``, perplexities, their ratio and ``delta_p_rms``, on that of log(x / (1 - x)) for
        agreements, the expected acceptance and shares of rows, and on that of x for the others. It needs two
        sequences, else it is NaN.
        The names that belong to ``kl_mean`` begin with ``kl_``, as in ``kl_lower``.

        ``report["kl_p99"]`` is a view of that value, for ``LightningModule.log`` or a monitor;
        ``LightningModule.log_dict(report)`` logs all values. ``print(report)`` shows a table.

    Raises:
        ValueError: From ``update``: shapes differ, a target is not a class, or there are fewer classes than
            ``num_classes``. The report is then as it was before.

    Example:
        >>> import torch
        >>> from torchdivergence import DivergenceReport
        >>> report = DivergenceReport()
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 3 * torch.randn(4, 250, 20, generator=generator)
        >>> report.update(logits, logits.bfloat16(), target=logits.argmax(-1))
        >>> values = report.compute()
        >>> print(f"{values['kl_mean']:.1e} ± {values['kl_standard_error']:.0e}")
        1.4e-05 ± 5e-07
        >>> print(f"{values['top_1_agreement']:.3f}")
        0.995

    Source: the table that ``llama-perplexity --kl-divergence`` of llama.cpp prints, and its formulas for errors; for
    the clustered ones A. C. Cameron and D. L. Miller, "A Practitioner's Guide to Cluster-Robust Inference", J. Hum.
    Resour. 50 (2015), section II; for McNemar's test M. W. Fagerland, S. Lydersen and P. Laake, "The McNemar Test for
    Binary Matched-Pairs Data", BMC Med. Res. Methodol. 13 (2013).
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
        confidence: float = 0.95,
        nan_policy: NanPolicy = "propagate",
        keep_sequences: bool = False,
        worst: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.evaluator = RowEvaluator(KL, log_prob=log_prob, temperature=temperature, nan_policy=nan_policy)
        self.top_k, self.num_classes = check_top_k(top_k), check_num_classes(num_classes)
        self.ignore_index = check_integer("ignore_index", ignore_index)
        self.quantiles = check_quantiles(quantiles)
        self.confidence = check_parameter("confidence", confidence, 0, 1)
        self.keep_sequences, self.num_worst = check_flag("keep_sequences", keep_sequences), check_count("worst", worst)
        statistics = report_statistics(self.top_k, self.quantiles, self.confidence)
        if worst:
            statistics[WORST] = Statistic(WorstRows(DIVERGENCE, worst))
        sequences = SequenceRecords(compared_columns(mean_columns(statistics))) if keep_sequences else None
        self._register_statistics(self._name_of_state(), statistics, sequences)

    def _name_of_state(self) -> str:
        kept = f"_worst_{self.num_worst}" * (self.num_worst > 0) + "_sequences" * self.keep_sequences
        settings = f"top_{'_'.join(map(str, self.top_k))}_of_{self.num_classes}_but_{self.ignore_index}"
        return f"{self.evaluator.state_name}_report_{settings}{kept}"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **{name: getattr(self, name) for name in ("num_classes", "ignore_index", "confidence", "keep_sequences")},
            "log_prob": list(self.evaluator.settings.log_prob),
            "temperature": self.evaluator.settings.temperature,
            "nan_policy": self.nan_policy,
            "top_k": list(self.top_k),
            "quantiles": list(self.quantiles.values()),
            "worst": self.num_worst,
        }

    def extra_repr(self) -> str:
        """The settings."""
        names = ("top_k", "num_classes", "ignore_index", "keep_sequences")
        return ", ".join([repr(self.evaluator), *(f"{x}={getattr(self, x)}" for x in names), f"worst={self.num_worst}"])

    def update(
        self,
        p: Side,
        q: Side,
        target: Tensor | None = None,
        weights: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> None:
        """Update with a batch of rows. If this raises, the report is as it was before.

        Args:
            p: The reference, ``[*batch, classes]``.
            q: The candidate, same shape as p.
            target: Index of the next token, ``[*batch]``.
            weights: Weights of the rows, broadcastable to the batch shape; a bool mask, for example.
            keys: An integer for each sequence, by which ``compare`` and ``worst`` name it, ``[sequences]``. By default
                it is a hash of its targets.
        """
        self._apply_batch(self._batch_stats(p, q, target, weights, keys))

    @no_grad()
    def _batch_stats(
        self,
        p: Side,
        q: Side,
        target: Tensor | None = None,
        weights: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> RowBatch:
        rows = self.evaluator.check(*clip_classes(p, q, self.num_classes), weights)
        if target is not None:
            check_target(target, rows.p, self.ignore_index)
        if keys is not None:
            check_keys(keys, rows.p)
        rows, own = own_rows(rows, self.state_device, {"target": target, "keys": keys})
        if (target := own["target"]) is not None:
            given = torch.ones_like(target, dtype=torch.float64) if rows.weights is None else rows.weights
            rows = rows._replace(weights=given.masked_fill(target.long() == self.ignore_index, 0.0))
        named = self.keep_sequences or self.num_worst
        keys = keys_of(target, rows.weights, own["keys"]) if named else None
        self.evaluator.inspect(rows)
        columns = by_blocks(self._columns, rows.p, rows.q, target)
        return RowBatch(columns, rows.weights, rows.items, keys, target)

    def _columns(self, p: Tensor, q: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """The divergence, agreements and acceptance, and with targets their columns, evaluated together."""
        settings, with_top = self.evaluator.settings, target is not None or 1 in self.top_k
        keys = [self.evaluator.key, _ACCEPTANCE, *(LOG_MASSES if target is not None else ())]
        keys += TOP_CLASSES if with_top else ()
        found = dict(zip(keys, self.evaluator.evaluate(p, q, keys), strict=True))
        tops = [found[key] for key in TOP_CLASSES if key in found]
        columns = agreement_columns(p, q, tops, self.top_k)
        columns |= {DIVERGENCE: found[self.evaluator.key], _ACCEPTANCE: found[_ACCEPTANCE]}
        if target is None:
            return columns
        log_masses = [found[key] for key in LOG_MASSES]
        return columns | target_columns((p, q), log_masses, tops, target, settings.log_prob, settings.temperature)

    def keys(self) -> list[str]:
        """Names of the values. Those of targets are missing until this process has seen a target."""
        counts = self._parts.split(self._as_tensor(self._live_state))["mcnemar"]
        with_target = not counts.is_meta and bool(counts.any())
        of_targets = (self._statistics[name].names for name in OF_TARGETS)
        optional = set().union(*of_targets)
        return [name for name in self._views if with_target or name not in optional]

    def sequence_sums(self) -> SequenceSums:
        """What ``keep_sequences`` keeps of each sequence, by key: the sums of its weights and of weight * value.

        On several processes it synchronizes them, unless ``compute`` did so before.
        """
        if not self.keep_sequences:
            raise ValueError("the sums over each sequence are missing: create the report with keep_sequences=True.")
        results = self._synced_results()
        kept: SequenceSums = results[SEQUENCES]
        if not self._are_unknown(results):
            return kept
        return kept._replace(sums={name: torch.full_like(x, torch.nan) for name, x in kept.sums.items()})

    def compare(
        self,
        other: "DivergenceReport",
        *,
        labels: tuple[str, str] = ("a", "b"),
        confidence: float | None = None,
        power: float = 0.8,
        sequential: bool = False,
    ) -> PairedComparison:
        """Compare the means of this report, a, with those of another one, b, on the same sequences.

        Both need ``keep_sequences=True``. Sequences are paired by key, so neither the order nor the batch size nor the
        number of processes of either report matters. The two references may differ.

        Args:
            other: The report b.
            labels: Names of a and b in tables and plots.
            confidence: Level of the intervals; by default that of this report.
            power: Probability of detecting a difference of the observed size, for ``texts_needed``; at least 0.5.
            sequential: Whether intervals and p values stay valid under repeated looks (optional stopping).

        Raises:
            ValueError: The reports differ in their keys, in the weight of a sequence or in their settings, a key occurs
                twice, or only some updates had targets.
        """
        if not isinstance(other, DivergenceReport):
            raise TypeError(f"a report is compared with another DivergenceReport, but got {type(other).__name__}.")
        names = check_labels(labels)
        level = self.confidence if confidence is None else check_parameter("confidence", confidence, 0, 1)
        power = check_power(power)
        a, b = self._paired_sums(other, names)
        return PairedComparison.of_sequences(a, b, names, level, power, check_flag("sequential", sequential))

    def _paired_sums(self, other: "DivergenceReport", labels: tuple[str, str]) -> tuple[SequenceSums, SequenceSums]:
        """The records of this report and another one. Raises unless they can be paired."""
        check_equal_settings(self.settings, other.settings, _OF_ROWS, labels)
        if lacking := [repr(x) for x, report in zip(labels, (self, other), strict=True) if not report.keep_sequences]:
            raise ValueError(
                f"the sums over each sequence are missing in {' and in '.join(lacking)}: create both reports with "
                "keep_sequences=True."
            )
        a, b = self.sequence_sums(), other.sequence_sums()
        check_pairs(a, b, labels, (int(self.compute()["invalid"]), int(other.compute()["invalid"])))
        return a, b

    def worst(self) -> WorstRowTable:
        """The rows of the largest divergence, the largest first; of equal ones that of the smaller key and position.

        The position is the index in the sequence, whose batch dimensions are flattened.

        On several processes it synchronizes them, unless ``compute`` did so before.
        """
        if not self.num_worst:
            raise ValueError("no rows were kept: create the report with worst=20, for example.")
        return WorstRowTable(self._synced_results()[WORST])

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """Draw the tail of the per-token KL, and the mean KL by position in the sequence. This needs matplotlib.

        The tail shows for each value the share of tokens whose KL is at least as large, with dots at the median, the
        99 % quantile and the maximum. It leaves out the smallest 1 % of the tokens. Tokens of divergence 0 and infinity
        have no place on its logarithmic axis; the legend counts them. The band is the confidence interval of the mean.

        Args:
            axes: A pair of matplotlib axes to draw on, as returned by this method: to overlay several reports.
            label: Name in the legend.

        Returns:
            The figure and the pair of axes.
        """
        results = self._synced_results()
        return plot_report(results["kl"], results["profile"], self.confidence, axes, label)

    def __str__(self) -> str:
        """A table of all values. On several processes it synchronizes them, unless ``compute`` did so before."""
        return table(self.to_dict(), self.quantiles, self.confidence, self.rough_values())
