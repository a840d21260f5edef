"""How often confidence intervals of a mean divergence cover the true mean, as a Markdown table.

python -m benchmarks.coverage
"""

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.report import Section, paragraphs, table
from torchdivergence._report.intervals import Intervals
from torchdivergence._states.moments import Estimate

CONFIDENCE = 0.95
TEXTS = (5, 8, 16, 64)
TOKENS = 200
TEXT_VARIATION, TOKEN_VARIATION = 0.5, 1.5
LENGTH_VARIATIONS = (0.0, 0.5, 1.0)
TEXT = """\
Share of {:,} samples in which the {:g} % interval contains the true mean. The mean divergence of a text is lognormal
with a coefficient of variation of {}; the tokens of a text have a gamma distribution with one of {}. The lengths of the
texts are lognormal, {} tokens on average; their coefficient of variation is in the first column. *t* stands for
Student's t distribution."""


class Sample(NamedTuple):
    """What is estimated from one sample, whose true mean is 1."""

    estimate: Estimate
    texts: int
    effective_texts: float


def lognormal(generator: np.random.Generator, variation: float, size: int | tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Numbers with mean 1 and a coefficient of variation."""
    variance = math.log1p(variation**2)
    return generator.lognormal(-variance / 2, math.sqrt(variance), size)


def draw(generator: np.random.Generator, texts: int, length_variation: float) -> Sample:
    """The mean divergence over the tokens of some texts, with its clustered standard error."""
    lengths = np.ceil(TOKENS * lognormal(generator, length_variation, texts))
    shape = 1 / TOKEN_VARIATION**2  # the sum of gamma variables is one, too
    sums = lognormal(generator, TEXT_VARIATION, texts) * generator.gamma(lengths * shape) / shape
    total, mean = lengths.sum(), sums.sum() / lengths.sum()
    error = math.sqrt(texts / (texts - 1) * np.square(sums - mean * lengths).sum()) / total
    return Sample(Estimate(mean, math.nan, error), texts, total**2 / np.square(lengths).sum())


def intervals(sample: Sample) -> Iterator[tuple[str, tuple[float, float]]]:
    """The bounds of each method, by its name in the table."""
    mean, _, error = sample.estimate
    margin = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    yield "normal", (mean - margin, mean + margin)
    by_count, effective = (Intervals(CONFIDENCE, g, rows=0) for g in (sample.texts, sample.effective_texts))
    yield "*t*, number of texts, log scale", by_count.bounds(sample.estimate, "log")
    yield "*t*, linear scale", effective.bounds(sample.estimate, "linear")
    yield "*t*, log scale (default)", effective.bounds(sample.estimate, "log")


def coverage(samples: int, texts: int, length_variation: float) -> dict[str, float]:
    """The share of samples whose interval contains the true mean, for each method."""
    generator, covered = np.random.default_rng(0), dict[str, int]()
    for _ in range(samples):
        for name, (lower, upper) in intervals(draw(generator, texts, length_variation)):
            covered[name] = covered.get(name, 0) + (lower <= 1 <= upper)
    return {name: count / samples for name, count in covered.items()}


def measure(quick: bool) -> Section:
    samples, head, lines = 1_000 if quick else 40_000, list[str](), list[list[str]]()
    for variation in LENGTH_VARIATIONS:
        for texts in TEXTS:
            found = coverage(samples, texts, variation)
            head = ["Variation of lengths", "texts", *found]
            lines.append([str(variation), str(texts), *(f"{100 * share:.1f} %" for share in found.values())])
    text = TEXT.format(samples, 100 * CONFIDENCE, TEXT_VARIATION, TOKEN_VARIATION, TOKENS)
    return Section("Coverage of confidence intervals", paragraphs(text, table(head, lines)))


if __name__ == "__main__":
    print(measure(quick=False).body)
