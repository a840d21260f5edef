"""How often ``torchdivergence gate`` decides, and how often wrongly, as a Markdown table.

python -m benchmarks.gate
"""

import math

import numpy as np

from benchmarks.report import Section, paragraphs, table
from torchdivergence._command.gate import Verdict, decide
from torchdivergence._report.intervals import Intervals
from torchdivergence._states.moments import Estimate

CONFIDENCE = 0.95
TEXTS = (8, 16, 64)
MEANS = (0.8, 0.95, 1.0, 1.05, 1.25)
TEXT_VARIATION = 0.5
TEXT = """\
Share of {:,} runs of the gate with `--confidence {:g}` that end with each decision. The mean divergence of a
sequence is lognormal with a coefficient of variation of {}. The true mean is given in units of the threshold: "below"
is wrong from 1 on, and "above" is wrong up to 1."""

WRONG = """\
Share of runs that end with "below" for a true mean at the threshold, by the coefficient of variation of the sequences:
with the upper bound of the two-sided interval, as the gate decides, and with a one-sided bound."""


def shares(
    runs: int, texts: int, true_mean: float, variation: float = TEXT_VARIATION, level: float = CONFIDENCE
) -> dict[Verdict, float]:
    """The share of each decision, for a threshold of 1 and intervals of a level."""
    generator, found = np.random.default_rng(0), dict.fromkeys(Verdict, 0)
    variance = math.log1p(variation**2)
    samples = true_mean * generator.lognormal(-variance / 2, math.sqrt(variance), (runs, texts))
    intervals = Intervals(level, texts, rows=0)
    for sample in samples:
        mean, error = float(sample.mean()), float(sample.std(ddof=1)) / math.sqrt(texts)
        bounds = intervals.bounds(Estimate(mean, math.nan, error), "log")
        found[decide(bounds, 1.0)] += 1
    return {verdict: count / runs for verdict, count in found.items()}


def wrong(runs: int) -> str:
    """How often "below" is wrong for a true mean at the threshold, by the spread between sequences and the bound."""
    head = [
        "variation of sequences",
        "sequences",
        "upper bound of the interval (gate)",
        f"one-sided bound at {CONFIDENCE:.0%}",
    ]
    lines = []
    for variation in (TEXT_VARIATION, 1.0):
        for texts in TEXTS:
            levels = (CONFIDENCE, 2 * CONFIDENCE - 1)
            found = (shares(runs, texts, 1.0, variation, level)[Verdict.BELOW] for level in levels)
            lines.append([f"{variation:g}", str(texts), *(f"{100 * share:.1f} %" for share in found)])
    return table(head, lines)


def measure(quick: bool) -> Section:
    runs = 500 if quick else 100_000
    lines = [
        [f"{mean:g}", str(texts), *(f"{100 * share:.1f} %" for share in shares(runs, texts, mean).values())]
        for mean in MEANS
        for texts in TEXTS
    ]
    head = ["true mean / threshold", "sequences", "below (exit 0)", "above (exit 1)", "undecided (exit 2)"]
    text = TEXT.format(runs, CONFIDENCE, TEXT_VARIATION)
    return Section("Decisions of the gate", paragraphs(text, table(head, lines), WRONG, wrong(runs)))


if __name__ == "__main__":
    print(measure(quick=False).body)
