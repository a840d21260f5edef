"""What a divergence declares: its names and texts for users, and its numerics for the backends.

Every divergence is a function of one sum over classes, or of a few. The terms of an f-divergence
``sum_i q_i f(p_i / q_i)`` are written such that f(1) = f'(1) = 0: the affine part of f sums to zero and is left out. So
each term is >= 0, terms never cancel, and an error in the normalization counts in second order only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from torchdivergence._divergences.pair import NormalizedPair
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import check_parameter


@dataclass(frozen=True, eq=False)
class Term:
    """One sum over the classes of a row, by its summand."""

    name: str
    """Backends other than the reference have the term under this name, if at all."""
    summand: Callable[[NormalizedPair], Tensor]
    parameter: float = 0.0
    log_domain: bool = False
    """If True, ``summand`` gives logarithms, and the term is their log-sum-exp; else every summand is >= 0."""


def _identity(term_sum: Tensor) -> Tensor:
    return term_sum


@dataclass(frozen=True, eq=False)
class Divergence:
    """The numerics of a divergence at a given parameter, in float64 and nats."""

    terms: tuple[Term, ...]
    log_grads: Callable[[NormalizedPair], tuple[Tensor, Tensor]]
    """Derivatives of the sum with respect to log p and log q of a class, up to a multiple of p and of q."""
    upper_bound: float = math.inf
    finalize: Callable[..., Tensor] = _identity
    """From the sums of the terms to the value."""
    finalize_grad: Callable[[Tensor], Tensor] = torch.ones_like
    """Derivative of the value with respect to the first sum, as a function of the value."""


@dataclass(frozen=True)
class Parameter:
    """The parameter of a divergence: a number strictly between two bounds."""

    name: str
    low: float
    high: float
    doc: str
    tested: tuple[float, ...]
    """Values at which the tests try the divergence."""
    example: float
    """Value in the example of the docstring."""
    default: float | None = None
    hint: str = ""
    """Added to the error if the parameter is out of range."""


@dataclass(frozen=True)
class Accuracy:
    """Bounds on the relative error of a row's value, for inputs taken as exact numbers."""

    narrow: float = 2e-6
    """For float16, bfloat16 and float32 inputs."""
    narrow_floor: tuple[float, float] = (1e-9, 1e-7)
    """Smallest value for which that holds: for logits, for probabilities."""
    float64: tuple[float, float] = (1e-12, 1e-10)
    """For float64 logits, for float64 probabilities."""
    float64_floor: float = 1e-6
    powers: bool = False
    """Whether powers of p / q are summed: then probabilities below 1e-307 may cost digits."""


@dataclass(frozen=True, eq=False)
class DivergenceSpec:
    """The declaration of a divergence: everything that is said about it once."""

    function: str
    """Name of the function in ``torchdivergence.functional``."""
    metric: str
    """Name of the metric class."""
    summary: str
    """First sentence of both docstrings."""
    formula: str
    """LaTeX."""
    source: str
    numerics: Divergence | Callable[[float], Divergence]
    """A function of the parameter, if there is one."""
    example: str
    """Value in the docstrings for p = (0.36, 0.48, 0.16) and uniform q."""
    notes: str = ""
    parameter: Parameter | None = None
    has_log_unit: bool = True
    """Whether the value is a logarithm, in nats or another base."""
    zero_iff_equal: bool = True
    higher_is_better: bool = False
    """Whether a greater value says that p and q are closer."""
    needs_q: bool = True
    """Whether the second distribution must be passed."""
    accuracy: Accuracy = Accuracy()
    _cache: dict[float, Divergence] = field(default_factory=dict, repr=False)

    def check_parameter(self, value: float | None) -> float | None:
        """The parameter as a float. Raises if it is out of range."""
        parameter = self.parameter
        if parameter is None:
            return None
        return check_parameter(parameter.name, value, parameter.low, parameter.high, parameter.hint)

    def at(self, parameter: float | None = None) -> Divergence:
        """The numerics at a parameter; the same object for the same parameter."""
        if isinstance(self.numerics, Divergence):
            return self.numerics
        assert parameter is not None, f"{self.function} has a parameter"
        if parameter not in self._cache:
            self._cache[parameter] = self.numerics(parameter)
        return self._cache[parameter]

    def second(self, p: Side, q: Side | None) -> Side:
        """The second distribution; the first one if it is missing and not needed."""
        if q is None and not self.needs_q:
            return p
        return q  # type: ignore[return-value]  # a missing one is refused with other wrong types

    def key(self, parameter: float | None = None) -> str:
        """Name of the divergence together with its parameter, under which operators know it."""
        return self.function if self.parameter is None else f"{self.function}:{self.parameter.name}={parameter}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _declared, (self.function,)


SPECS: dict[str, DivergenceSpec] = {}
"""All divergences, by the name of the function."""


def declare(spec: DivergenceSpec) -> DivergenceSpec:
    """Add a divergence to the list of all."""
    if spec.function in SPECS:
        raise ValueError(f"there is already a divergence {spec.function!r}.")
    SPECS[spec.function] = spec
    return spec


AUXILIARY: dict[str, Divergence] = {}
"""Other quantities of a row, which have no function and no metric."""


@cache
def by_key(key: str) -> Divergence:
    """The numerics under a key: the name of a function, with ``:parameter=value`` if there is one."""
    if key in AUXILIARY:
        return AUXILIARY[key]
    function, _, setting = key.partition(":")
    return SPECS[function].at(float(setting.partition("=")[2]) if setting else None)


def _declared(function: str) -> DivergenceSpec:
    return SPECS[function]
