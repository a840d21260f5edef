"""The paired comparison of two reports: which means are compared, and the results as a table, a dict and a plot."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torchdivergence._report.named_values import to_json
from torchdivergence._report.paired_means import Better, MeanDifference, PairedSequences
from torchdivergence._report.plotting import ForestRow, plot_forest
from torchdivergence._report.t_tests import SequentialTest, StudentTest
from torchdivergence._report.table import aligned, digits_shown, format_number
from torchdivergence._states.part import DIVERGENCE
from torchdivergence._states.sequences import SequenceSums


class _Mean(NamedTuple):
    """How the mean of a column is compared."""

    name: str
    """Of the value in a report."""
    label: str
    better: Better
    percent: bool = False
    rooted: bool = False
    """Whether the value is the square root of the mean."""


_MEANS: Mapping[str, _Mean] = {
    DIVERGENCE: _Mean("kl_mean", "KL mean, nats", "lower"),
    "expected_acceptance": _Mean("expected_acceptance", "Expected acceptance, %", "higher", percent=True),
    "accuracy_q": _Mean("accuracy_q", "Accuracy of q, %", "higher", percent=True),
    "both_correct": _Mean("both_correct", "Both correct, %", "higher", percent=True),
    "worsened": _Mean("worsened", "Worsened, %", "lower", percent=True),
    "improved": _Mean("improved", "Improved, %", "higher", percent=True),
    "loss_q": _Mean("log_perplexity_q", "ln(perplexity of q)", "lower"),
    "log_ratio": _Mean("log_perplexity_ratio", "ln(perplexity q / p)", "lower"),
    "delta_p": _Mean("delta_p_mean", "Δp of the target, %", "higher", percent=True),
    "delta_p_squared": _Mean("delta_p_rms", "RMS Δp of the target, %", "lower", percent=True, rooted=True),
}
"""By column. Of the others, ``accuracy_p`` and ``loss_p`` do not depend on q, ``accuracy_difference`` is improved -
worsened, and ``both_wrong_differently`` is 1 - top_1_agreement - worsened - improved."""


def compared_columns(columns: Iterable[str]) -> list[str]:
    """Those of some columns whose means are compared."""
    return [column for column, _ in _compared(columns)]


def _compared(columns: Iterable[str]) -> Iterator[tuple[str, _Mean]]:
    for column in columns:
        if column in _MEANS:
            yield column, _MEANS[column]
        elif column.endswith("_agreement"):
            k = column.split("_")[1]
            label = "Same top token, %" if k == "1" else f"Top {k} tokens in common, %"
            yield column, _Mean(column, label, "higher", percent=True)


@dataclass(frozen=True)
class PairedComparison:
    """The differences between the means of two reports a and b on the same sequences. ``print`` shows a table."""

    labels: tuple[str, str]
    """Names of a and b."""
    sequences: int
    effective_sequences: float
    """(sum W)**2 / sum W**2 with the weights W of the sequences: their number if all are equal, else less."""
    confidence: float
    power: float
    sequential: bool
    """Whether intervals and p values stay valid under repeated looks (optional stopping)."""
    differences: Mapping[str, MeanDifference]
    """By the name of the value in the reports."""
    _means: Mapping[str, _Mean] = field(repr=False)

    @classmethod
    def of_sequences(
        cls,
        a: SequenceSums,
        b: SequenceSums,
        labels: tuple[str, str],
        confidence: float,
        power: float,
        sequential: bool,
    ) -> "PairedComparison":
        """From records with the same keys and weights, in the same order."""
        test = SequentialTest(confidence) if sequential else StudentTest(confidence, power)
        pairs = PairedSequences(a.weights, test)
        means = {column: mean for column, mean in _compared(a.sums) if column in b.sums}
        differences = {
            mean.name: pairs.compare(a.sums[column], b.sums[column], mean.better, mean.rooted)
            for column, mean in means.items()
        }
        by_name = {mean.name: mean for mean in means.values()}
        return cls(labels, pairs.number, pairs.effective, confidence, power, sequential, differences, by_name)

    def to_dict(self) -> dict[str, float | str]:
        """All numbers, by names such as ``kl_mean_difference``, ``kl_mean_p_value`` and ``kl_mean_verdict``."""
        found: dict[str, float | str] = {"label_a": self.labels[0], "label_b": self.labels[1]}
        for name in ("sequences", "effective_sequences", "confidence", "power", "sequential"):
            found[name] = getattr(self, name)
        for name, difference in self.differences.items():
            found |= {f"{name}_{key}": x for key, x in difference._asdict().items()}
        return found

    def to_json(self) -> str:
        """The same as JSON. A number that is not finite becomes a string: "nan", "inf" or "-inf"."""
        return to_json(self.to_dict())

    def plot(self, ax: Any = None) -> Any:
        """Draw the difference of each mean with its interval. This needs matplotlib.

        Args:
            ax: Matplotlib axes to draw on.

        Returns:
            The figure and the axes.
        """
        rows = [
            ForestRow(mean.label, x.difference, x.lower, x.upper, 100 if mean.percent else 1, x.verdict, mean.better)
            for mean, x in zip(self._means.values(), self.differences.values(), strict=True)
        ]
        return plot_forest(self.labels, rows, ax)

    def __str__(self) -> str:
        """A table."""
        a, b = self.labels
        bounds = (f"{bound} {100 * self.confidence:.10g} %" for bound in ("lower", "upper"))
        head = ("", "a", "b", "b - a", "± paired", "± unpaired", *bounds, "p value", "needed", "better")
        lines = [self._line(name, x) for name, x in self.differences.items()]
        number = f"{self.sequences:,} pair{'s' * (self.sequences != 1)} of sequences"
        return "\n".join([f"{number}, a: {a}, b: {b}", "", *aligned([head, *lines]), "", *self._notes()])

    def _line(self, name: str, x: MeanDifference) -> tuple[str, ...]:
        mean = self._means[name]
        scale = 100 if mean.percent else 1
        numbers = (
            format_number(scale * value, digits_shown(value, x.standard_error)) for value in (x.a, x.b, x.difference)
        )
        errors = (format_number(scale * error, 2) for error in (x.standard_error, x.unpaired_standard_error))
        digits = digits_shown(x.difference, x.standard_error)
        bounds = (format_number(scale * bound, digits) for bound in (x.lower, x.upper))
        needed = f"{x.texts_needed:,.0f}" if math.isfinite(x.texts_needed) else "-"
        return mean.label, *numbers, *errors, *bounds, format_number(x.p_value, 2), needed, x.verdict

    def _notes(self) -> Iterator[str]:
        lower = [mean.label.split(",")[0] for mean in self._means.values() if mean.better == "lower"]
        yield f"Lower is better for {', '.join(lower)}; higher is better for the others."
        kl = self.differences["kl_mean"]
        if kl.unpaired_standard_error > kl.standard_error > 0:
            gain = kl.unpaired_standard_error / kl.standard_error
            yield f"Pairing divides the error of the KL mean by {gain:.3g}, like {gain**2:.3g} times as many texts."
        if any(x.standard_error == 0 for x in self.differences.values()):
            yield "nan: a difference with a standard error of 0 has no interval and no p value."
        if self.sequential:
            yield "Intervals and p values stay valid under repeated looks (optional stopping)."
            yield "needed: number of texts at which the interval would exclude 0, for this difference and error."
        else:
            yield "Intervals and p values hold for one look at a number of texts that was chosen in advance."
            yield f"needed: number of texts to detect the observed difference with a power of {self.power:g}."
