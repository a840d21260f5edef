"""How often a test of a paired difference finds one where there is none, if one looks after every text.

python -m benchmarks.peeking
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.coverage import lognormal
from benchmarks.report import Section, paragraphs, table
from torchdivergence._report.t_tests import SequentialTest, StudentTest, Test

Numbers = npt.NDArray[np.float64]

CONFIDENCE = 0.95
TEXTS = 500
VARIATION, MORE_VARIATION, MOST_VARIATION = 0.5, 1.0, 2.0
CHANGED = 2.0
_STEPS = 20  # effective numbers of texts are rounded down to multiples of 1 / 20
WIDE_PRIOR = 1.0
LATER = 100
TESTS: Mapping[str, Test] = {
    "default": StudentTest(CONFIDENCE, power=0.5),
    "sequential": SequentialTest(CONFIDENCE),
    f"g = {WIDE_PRIOR:g}": SequentialTest(CONFIDENCE, WIDE_PRIOR),
}
SHOWN = (
    *(("default", "one look"), ("default", "all looks"), ("sequential", "one look"), ("sequential", "all looks")),
    *(("sequential", f"looks from {LATER} texts on"), (f"g = {WIDE_PRIOR:g}", "all looks")),
)
TEXT = """\
Share of {samples:,} samples in which the {level:g} % interval excludes the true mean difference: after {texts} texts
(one look), after at least one of 2 to {texts} (all looks), and after at least one of {later} to {texts}. The last
column is the sequential interval with another g. The difference of each text is drawn from the distribution in the
first column; in parentheses is the coefficient of variation of the lognormal variable."""


def normal(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Numbers, Numbers]:
    return generator.standard_normal(shape), np.ones(shape)


def skewed(
    generator: np.random.Generator, shape: tuple[int, int], variation: float = VARIATION
) -> tuple[Numbers, Numbers]:
    return lognormal(generator, variation, shape) - 1, np.ones(shape)


def heavy_tailed(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Numbers, Numbers]:
    return generator.standard_normal(shape) * lognormal(generator, MORE_VARIATION, shape), np.ones(shape)


def counts(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Numbers, Numbers]:
    first, second = generator.poisson(CHANGED, (2, *shape)).astype(float)
    return second - first, np.ones(shape)


def unequal(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Numbers, Numbers]:
    weights = lognormal(generator, VARIATION, shape)
    return generator.standard_normal(shape) * np.sqrt(weights), weights


DIFFERENCES: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], tuple[Numbers, Numbers]]] = {
    "normal": normal,
    f"normal, texts of lognormal length ({VARIATION})": unequal,
    f"of two Poisson counts of mean {CHANGED:g}": counts,
    f"normal times lognormal ({MORE_VARIATION})": heavy_tailed,
    f"lognormal less their mean ({VARIATION})": skewed,
    f"lognormal less their mean ({MORE_VARIATION})": partial(skewed, variation=MORE_VARIATION),
    f"lognormal less their mean ({MOST_VARIATION})": partial(skewed, variation=MOST_VARIATION),
}


def t_values(sums: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """After each text from the second on, the t value of each sample, and the effective number of texts."""
    n = np.arange(1, sums.shape[1] + 1)
    total, square = weights.cumsum(1), np.square(weights).cumsum(1)
    mean = sums.cumsum(1) / total
    residuals = np.square(sums).cumsum(1) - 2 * mean * (sums * weights).cumsum(1) + mean**2 * square
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.maximum(residuals, 0) * n / (n - 1)) / total
        t = np.where(error > 0, np.abs(mean) / error, np.where(mean, math.inf, 0))
    return t[:, 1:], (total**2 / square)[:, 1:]


def false_discoveries(name: str, samples: int, texts: int = TEXTS) -> dict[tuple[str, str], float]:
    """For each test and number of looks the share of samples whose interval excludes 0 at one of the looks."""
    t, effective = t_values(*DIFFERENCES[name](np.random.default_rng(0), (samples, texts)))
    numbers, index = np.unique(np.floor(effective * _STEPS + 1e-6) / _STEPS, return_inverse=True)
    found = dict[tuple[str, str], float]()
    for test_name, test in TESTS.items():
        margins = np.array([test.margin(n) for n in numbers])
        excluded = t > np.nan_to_num(margins, nan=math.inf, posinf=math.inf)[index.reshape(t.shape)]
        first = {"one look": texts, "all looks": 2, f"looks from {LATER} texts on": LATER}
        found |= {(test_name, looks): float(excluded[:, n - 2 :].any(1).mean()) for looks, n in first.items()}
    return found


def measure(quick: bool) -> Section:
    samples, lines = 500 if quick else 10_000, list[list[str]]()
    for name in DIFFERENCES:
        found = false_discoveries(name, samples)
        lines.append([name, *(f"{100 * found[column]:.1f} %" for column in SHOWN)])
    head = ["Differences", *map(", ".join, SHOWN)]
    text = TEXT.format(samples=samples, level=100 * CONFIDENCE, texts=TEXTS, later=LATER)
    return Section("Looking at a paired difference again and again", paragraphs(text, table(head, lines)))


if __name__ == "__main__":
    print(measure(quick=False).body)
