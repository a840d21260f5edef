"""From states to named values: what statistics and reports share."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from torchdivergence._inputs.arguments import check_parameter
from torchdivergence._states.histogram import Distribution, no_limits
from torchdivergence._states.moments import Estimate

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999)
ERRORS = ("standard_error", "clustered_standard_error")


def check_quantiles(quantiles: float | Sequence[float]) -> dict[str, float]:
    """The names of quantiles: ``median``, and for example ``p99_9`` for 0.999."""
    named: dict[str, float] = {}
    given = [quantiles] if isinstance(quantiles, float) else quantiles
    for q in sorted(check_parameter("each of quantiles", q, 0, 1) for q in given):
        name = "median" if q == 0.5 else f"p{100 * q:.10g}".replace(".", "_")
        if named.setdefault(name, q) != q:
            raise ValueError(f"quantiles must differ in their first ten digits, but got {named[name]!r} and {q!r}.")
    return named


def valid_weights(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights of rows, 0 where a row is invalid; and how many of those there are."""
    given = torch.ones_like(values) if weights is None else weights
    invalid = (values.isnan() & (given != 0)) | given.isnan()
    return given.masked_fill(invalid, 0.0), invalid.sum()


def empty_state(sizes: Sequence[int]) -> Tensor:
    """The state of these sizes that has seen nothing; the last is that of limits."""
    *counts, limits = sizes
    empty = [no_limits()] * (limits // len(no_limits()))
    return torch.cat([torch.zeros(sum(counts), dtype=torch.int64), *empty])


def join_states(states: Tensor, limits: int) -> Tensor:
    """One state from several, stacked: the sum, but of the limits, which come last, the largest."""
    return torch.cat([states[:, :-limits].sum(0), states[:, -limits:].amax(0)])


def split(state: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """The parts of a state."""
    return torch.split(state, list(sizes))


def estimate_names(name: str, stem: str | None = None) -> list[str]:
    """Under which names a value and its errors stand; the stem is what the latter begin with, "name_" by default."""
    return [name, *(f"{f'{name}_' if stem is None else stem}{error}" for error in ERRORS)]


def estimate_values(estimate: Estimate, name: str, stem: str | None = None) -> dict[str, float]:
    """An estimate under its names."""
    return dict(zip(estimate_names(name, stem), estimate, strict=True))


def spread_values(
    found: Distribution, quantiles: Mapping[str, float], prefix: str = "", unit: float = 1.0
) -> dict[str, float]:
    """Minimum, quantiles and maximum under their names."""
    numbers = {"min": found.minimum, **{n: found.quantile(q) for n, q in quantiles.items()}, "max": found.maximum}
    return {prefix + name: x / unit for name, x in numbers.items()}


def spread_names(quantiles: Mapping[str, float], prefix: str = "") -> list[str]:
    """The names of these."""
    return [prefix + name for name in ("min", *quantiles, "max")]


def unknown(values: Mapping[str, float]) -> dict[str, float]:
    """The same names without values: a row is invalid."""
    return dict.fromkeys(values, math.nan)
