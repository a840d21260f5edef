"""Checks of what a user passes as settings, and the error texts."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, SupportsFloat, SupportsIndex, get_args

from torch import Tensor

LogProb = bool | tuple[bool, bool]
Reduction = Literal["mean", "batchmean", "sum", "none"] | None
NanPolicy = Literal["propagate", "omit", "raise"]
IntervalScale = Literal["log", "linear"]
Dim = int | tuple[int, ...]


class Settings(NamedTuple):
    """Checked settings of a divergence."""

    log_prob: tuple[bool, bool]
    reduction: str
    dim: Dim
    """Class dimension, or several: then a class is a position in all of them."""
    temperature: float
    """Logits are divided by it."""
    log_base: float
    """A value in nats is divided by it."""


def check_settings(
    log_prob: LogProb, reduction: Reduction, dim: Dim, temperature: float, base: float | None, has_log_unit: bool = True
) -> Settings:
    """The settings in their normal form."""
    if base is not None and not has_log_unit:
        raise ValueError(
            f"base={base!r} is the unit of a logarithm, but this divergence has no such unit: leave base out."
        )
    name = "none" if reduction is None else reduction
    _check_choice("reduction", name, ("mean", "batchmean", "sum", "none"))
    flags = check_log_prob(log_prob)
    log_base = 1.0 if base is None else math.log(check_parameter("base", base, 1, math.inf))
    return Settings(flags, name, _check_dim(dim), _check_temperature(temperature, flags), log_base)


def check_parameter(name: str, value: object, low: float, high: float, hint: str = "") -> float:
    """A number strictly between two bounds."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be a number, but got {value!r}.")
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(f"{name} is a tensor that requires a gradient, but none is computed: use {name}.detach().")
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.nan
    if not low < number < high:
        raise ValueError(f"{name} must be above {low} and below {high}, but got {value!r}.{hint}")
    return number + 0.0  # no -0.0


def check_power(power: float) -> float:
    """The power of a test: at least 0.5, so that the needed number of sequences is well approximated."""
    number = check_parameter("power", power, 0, 1)
    if number < 0.5:
        raise ValueError(f"power must be at least 0.5, but got {power!r}.")
    return number


def check_num_classes(num_classes: int | None) -> int | None:
    """A number of classes, or None for all of them."""
    if num_classes is None:
        return None
    number = check_integer("num_classes", num_classes, " or None")
    if number < 1:
        raise ValueError(f"num_classes must be at least 1, but got {num_classes}.")
    return number


def check_integer(name: str, value: object, alternative: str = "") -> int:
    """An integer."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer{alternative}, but got {value!r}.")
    return operator.index(value)


def check_count(name: str, value: object) -> int:
    """An integer >= 0."""
    number = check_integer(name, value)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, but got {number}.")
    return number


def check_flag(name: str, value: object) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but got {value!r}.")
    return value


def check_equal_settings(
    a: Mapping[str, object], b: Mapping[str, object], names: Iterable[str], labels: tuple[str, str]
) -> None:
    """Raise unless two reports have equal settings of some names."""
    differ = [
        f"{name} is {a[name]!r} in {labels[0]!r} and {b[name]!r} in {labels[1]!r}"
        for name in names
        if a[name] != b[name]
    ]
    if differ:
        raise ValueError(f"both reports must have the same settings, but {'; '.join(differ)}.")


def check_labels(labels: object) -> tuple[str, str]:
    """A pair of names."""
    given = tuple(labels) if isinstance(labels, (tuple, list)) else ()
    if len(given) != 2 or not all(isinstance(label, str) for label in given):
        raise TypeError(f"labels must be two strings, the names of the two reports, but got {labels!r}.")
    if given[0] == given[1]:
        raise ValueError(f"labels must differ, but both are {given[0]!r}.")
    return given


def _check_dim(dim: object) -> Dim:
    if isinstance(dim, (tuple, list)):
        return tuple(check_integer("each of dim", d) for d in dim)
    return check_integer("dim", dim, " or a tuple of integers")


def check_quantiles(quantiles: float | Sequence[float]) -> dict[str, float]:
    """Quantiles by name: ``median``, and for example ``p99_9`` for 0.999."""
    named: dict[str, float] = {}
    given = quantiles if isinstance(quantiles, Iterable) else [quantiles]
    for q in sorted(check_parameter("each of quantiles", q, 0, 1) for q in given):
        name = "median" if q == 0.5 else f"p{100 * q:.10g}".replace(".", "_")
        if named.setdefault(name, q) != q:
            raise ValueError(f"quantiles must differ in their first ten digits, but got {named[name]!r} and {q!r}.")
    return named


def check_top_k(top_k: int | Sequence[int]) -> tuple[int, ...]:
    """Numbers of classes, each once, in ascending order."""
    given = top_k if isinstance(top_k, Iterable) else [top_k]
    numbers = sorted({check_integer("each of top_k", k) for k in given})
    if numbers and numbers[0] < 1:
        raise ValueError(f"each of top_k must be at least 1, but got {numbers[0]}.")
    return tuple(numbers)


def check_interval_scale(interval_scale: IntervalScale) -> IntervalScale:
    """The name of a scale."""
    _check_choice("interval_scale", interval_scale, get_args(IntervalScale))
    return interval_scale


def check_nan_policy(nan_policy: NanPolicy) -> NanPolicy:
    """The name of a policy."""
    _check_choice("nan_policy", nan_policy, get_args(NanPolicy))
    return nan_policy


def check_log_prob(log_prob: LogProb) -> tuple[bool, bool]:
    """A flag for p and one for q."""
    if isinstance(log_prob, bool):
        return log_prob, log_prob
    if isinstance(log_prob, (tuple, list)) and len(log_prob) == 2 and all(isinstance(x, bool) for x in log_prob):
        return log_prob[0], log_prob[1]
    raise TypeError(f"log_prob must be a bool or a pair (p, q) of bools, but got {log_prob!r}.")


def _check_temperature(temperature: float, log_prob: tuple[bool, bool]) -> float:
    number = check_parameter("temperature", temperature, 0, math.inf)
    if number != 1 and not all(log_prob):
        raise ValueError(
            f"temperature={temperature!r} divides logits: both p and q must be logits (log_prob=True), but log_prob is "
            f"{log_prob}. Pass the logarithms of probabilities instead."
        )
    return number


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}, but got {value!r}.")
