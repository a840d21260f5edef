"""Results of states as named values."""

import json
import math
from collections.abc import Mapping

from torchdivergence._report.intervals import Intervals, ScaleName
from torchdivergence._states.histogram import Distribution
from torchdivergence._states.moments import Estimate

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
COUNTS = ("rows", "sequences", "infinite", "invalid")
"""Names of values that stay known when a row is invalid. They come last."""
ERRORS = ("standard_error", "clustered_standard_error", "lower", "upper")
"""What the names of the errors and bounds of a value end with."""
_FEW = 100
"""A quantile with fewer rows beyond it is rough."""


def estimate_names(name: str, prefix: str | None = None) -> list[str]:
    """Names of a value, its errors and its bounds; the prefix of all but the first is ``name_`` by default."""
    return [name, *(f"{f'{name}_' if prefix is None else prefix}{error}" for error in ERRORS)]


def estimate_values(
    estimate: Estimate, intervals: Intervals, scale: ScaleName, name: str, prefix: str | None = None
) -> dict[str, float]:
    """An estimate and its confidence interval by names."""
    numbers = *estimate, *intervals.bounds(estimate, scale)
    return dict(zip(estimate_names(name, prefix), numbers, strict=True))


def quantile_names(quantiles: Mapping[str, float], prefix: str = "") -> list[str]:
    """Names of minimum, quantiles and maximum."""
    return [prefix + name for name in ("min", *quantiles, "max")]


def quantile_values(
    distribution: Distribution, quantiles: Mapping[str, float], prefix: str = "", unit: float = 1.0
) -> dict[str, float]:
    """Minimum, quantiles and maximum by names."""
    inner = (distribution.quantile(q) for q in quantiles.values())
    numbers = (distribution.minimum, *inner, distribution.maximum)
    return {name: x / unit for name, x in zip(quantile_names(quantiles, prefix), numbers, strict=True)}


def rough_quantiles(distribution: Distribution, quantiles: Mapping[str, float], prefix: str = "") -> list[str]:
    """Names of the quantiles that have few rows beyond them, on the side where fewer are."""
    return [prefix + name for name, q in quantiles.items() if _rows_beyond(distribution, q) < _FEW]


def _rows_beyond(distribution: Distribution, q: float) -> float:
    return round(distribution.total * min(q, 1 - q), 6)  # 1 - 0.9 is not quite 0.1


def row_counts(distribution: Distribution) -> dict[str, float]:
    """How many valid rows there are, and how many of them are infinite."""
    return {"rows": distribution.total, "infinite": distribution.infinite}


def to_json(values: Mapping[str, object]) -> str:
    """Values as JSON. A number that is not finite becomes a string: "nan", "inf" or "-inf"."""
    return json.dumps({name: finite(x) for name, x in values.items()}, indent=2)


def finite(value: object) -> object:
    """The value, or its name if it is a number that is not finite: JSON has no such numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def all_nan(values: Mapping[str, float]) -> dict[str, float]:
    """The values with NaN for all but the counts."""
    return {name: value if name in COUNTS else math.nan for name, value in values.items()}
