"""Every check of what a user hands in, and every error text.

What passes comes back as views with the classes last: nothing is copied, and nothing here knows what a
divergence is. Values are looked at on the CPU only: on another device a look would make the caller wait.
"""

import math
import operator
from typing import Literal, NamedTuple, SupportsFloat, SupportsIndex, get_args

import torch
from torch import Tensor

LogProb = bool | tuple[bool, bool]
Reduction = Literal["mean", "batchmean", "sum", "none"] | None
NanPolicy = Literal["propagate", "omit", "raise"]
_INTEGERS = torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8


class Settings(NamedTuple):
    """What every divergence is told besides its tensors, checked."""

    log_prob: tuple[bool, bool]
    reduction: str
    dim: int
    temperature: float
    """What logits are divided by."""
    log_base: float
    """What a value in nats is divided by."""


class Rows(NamedTuple):
    """The rows to compare: p and q are ``[*batch, classes]``, weights (or None) ``[*batch]`` in float64."""

    p: Tensor
    q: Tensor
    weights: Tensor | None

    @property
    def items(self) -> int:
        """Number of items along the first batch dimension; a single row is one item."""
        return self.p.shape[0] if self.p.ndim > 1 else 1


def check_rows(p: Tensor, q: Tensor, weights: Tensor | None, settings: Settings) -> Rows:
    """Views of p and q with the classes last, and of the weights on their batch shape."""
    _refuse_indices(p, q, settings.dim)
    for name, values, is_log in zip("pq", (p, q), settings.log_prob, strict=True):
        _check_dtype(name, values, is_log)
    if p.shape != q.shape:
        raise ValueError(
            f"p and q must have the same shape, but p is {_shape(p)} and q is {_shape(q)}. If one of them has "
            "padding classes, slice them off, or give a DivergenceReport num_classes; if one of them is shared by all "
            "rows, expand it: q.expand_as(p)."
        )
    if p.device != q.device:
        raise ValueError(f"p and q must be on one device, but p is on {p.device} and q on {q.device}.")
    dim = settings.dim
    if not -p.ndim <= dim < p.ndim:
        raise IndexError(f"dim={dim} must be one of the {p.ndim} dimensions of p, which is {_shape(p)}.")
    if p.shape[dim] == 0:
        raise ValueError(f"p and q must have at least one class, but dimension {dim} of {_shape(p)} is empty.")
    if dim not in (-1, p.ndim - 1):
        p, q = p.movedim(dim, -1), q.movedim(dim, -1)
    return Rows(p, q, None if weights is None else _check_weights(weights, p))


def _refuse_indices(p: Tensor, q: Tensor, dim: int) -> None:
    """Indices of classes are no distributions, though integers may be: counts."""
    if not isinstance(p, Tensor) or not isinstance(q, Tensor) or p.shape == q.shape:
        return
    for name, x, name_of_other, other in (("p", p, "q", q), ("q", q, "p", p)):
        whole = x.dtype in _INTEGERS and -other.dim() <= dim < other.dim() and other.shape[dim]
        if whole and x.shape == other.select(dim, 0).shape:
            raise ValueError(
                f"{name} must hold a distribution for each row, of the shape of {name_of_other}, {_shape(other)}, but "
                f"holds integers of the shape {_shape(x)}: if they are indices of classes, write "
                f"torch.nn.functional.one_hot({name}, {other.shape[dim]}) and log_prob=False for {name}."
            )


def clip_classes(p: Tensor, q: Tensor, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Views of the classes that count, the first ones."""
    if num_classes is None:
        return p, q
    for name, values in zip("pq", (p, q), strict=True):
        _check_dtype(name, values, is_log=False)
        if values.shape[-1] < num_classes:
            raise ValueError(
                f"there must be at least num_classes={num_classes} classes, but {name} is {_shape(values)}."
            )
    return p[..., :num_classes], q[..., :num_classes]


def check_target(target: Tensor, p: Tensor, ignore_index: int) -> None:
    """Indices of classes, one for each row of p (whose classes are last), or ``ignore_index``."""
    if (
        not isinstance(target, Tensor)
        or target.is_floating_point()
        or target.is_complex()
        or target.dtype == torch.bool
    ):
        found = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"target must be a tensor of integers, the index of a class for each row, but got {found}.")
    if target.shape != p.shape[:-1]:
        raise ValueError(
            f"target must have the batch shape {tuple(p.shape[:-1])} (that of p without its classes), but is "
            f"{_shape(target)}. The target of a token is the next one: logits[:, :-1] go with ids[:, 1:]."
        )
    if target.device != p.device:
        raise ValueError(f"target must be on the device of p, {p.device}, but is on {target.device}.")
    outside = ((target < 0) | (target >= p.shape[-1])) & (target != ignore_index)
    if target.device.type == "cpu" and outside.any():
        raise ValueError(
            f"each target must be a class, from 0 to {p.shape[-1] - 1}, or ignore_index={ignore_index}, but got "
            f"{int(target[outside][0])}."
        )


def _check_dtype(name: str, values: Tensor, is_log: bool) -> None:
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor, but got {type(values).__name__}: use torch.as_tensor({name}).")
    if values.ndim == 0:
        raise ValueError(f"{name} must have a class dimension, but got a single number.")
    if values.layout != torch.strided or values.is_nested:
        raise TypeError(f"{name} must be a dense tensor, but its layout is {values.layout}: use {name}.to_dense().")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(f"{name} must hold real numbers, but its dtype is {values.dtype}.")
    if is_log and not values.is_floating_point():
        raise TypeError(
            f"{name} was announced as log-probabilities or logits (log_prob=True) and must be floating point, but "
            f"its dtype is {values.dtype}. For counts or probabilities pass log_prob=False."
        )


def _check_weights(weights: Tensor, p: Tensor) -> Tensor:
    """The weights in float64, expanded to the batch shape of p (whose classes are last)."""
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights must be a tensor, but got {type(weights).__name__}: use torch.as_tensor(weights).")
    if weights.is_complex():
        raise TypeError(f"weights must be bool, integer or floating point, but their dtype is {weights.dtype}.")
    if weights.device != p.device:
        raise ValueError(f"weights must be on the device of p, {p.device}, but are on {weights.device}.")
    batch = p.shape[:-1]
    values = weights.detach().to(torch.float64)
    try:
        expanded = values.expand(batch)
    except RuntimeError:
        raise ValueError(
            f"weights must broadcast to the batch shape {tuple(batch)} (that of p without its class dimension), "
            f"but are {_shape(weights)}. Weights of the items of a batch need a dimension more: weights[:, None]."
        ) from None
    if weights.dtype == torch.bool:
        return expanded
    valid = (values >= 0) & (values < math.inf)
    if weights.device.type != "cpu":
        return expanded.masked_fill(~valid, math.nan)  # such a row is invalid, as compute() will tell
    if not valid.all():
        worst, number = values[~valid][0].item(), int((~valid).sum())
        raise ValueError(
            f"weights must be finite and not negative, but {number} of them are not, {worst} for one: give 0 to rows "
            "that are to be left out."
        )
    return expanded


def check_settings(
    log_prob: LogProb, reduction: Reduction, dim: int, temperature: float, base: float | None, in_nats: bool = True
) -> Settings:
    """The settings in their simplest form."""
    if base is not None and not in_nats:
        raise ValueError(f"base={base!r} is a unit of logarithms, which this divergence does not have: leave it out.")
    if isinstance(dim, bool) or not isinstance(dim, SupportsIndex):
        raise TypeError(f"dim must be an integer, but got {dim!r}.")
    name = "none" if reduction is None else reduction
    _check_choice("reduction", name, ("mean", "batchmean", "sum", "none"))
    flags = _check_log_prob(log_prob)
    log_base = 1.0 if base is None else math.log(check_parameter("base", base, 1, math.inf))
    return Settings(flags, name, operator.index(dim), _check_temperature(temperature, flags), log_base)


def check_parameter(name: str, value: float, low: float, high: float) -> float:
    """A number strictly between two bounds."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be a number, but got {value!r}.")
    try:
        number = float(value)
    except (OverflowError, ValueError):
        number = math.nan
    if not low < number < high:
        raise ValueError(f"{name} must be above {low} and below {high}, but got {value!r}.")
    return number


def check_num_classes(num_classes: int | None) -> int | None:
    """A number of classes, or None for all that there are."""
    if num_classes is None:
        return None
    if isinstance(num_classes, bool) or not isinstance(num_classes, SupportsIndex):
        raise TypeError(f"num_classes must be an integer or None, but got {num_classes!r}.")
    if operator.index(num_classes) < 1:
        raise ValueError(f"num_classes must be at least 1, but got {num_classes}.")
    return operator.index(num_classes)


def check_nan_policy(nan_policy: NanPolicy) -> NanPolicy:
    """One of the names."""
    _check_choice("nan_policy", nan_policy, get_args(NanPolicy))
    return nan_policy


def _check_log_prob(log_prob: LogProb) -> tuple[bool, bool]:
    match log_prob:
        case bool():
            return log_prob, log_prob
        case (bool(of_p), bool(of_q)):
            return of_p, of_q
    raise TypeError(f"log_prob must be a bool or a pair (p, q) of bools, but got {log_prob!r}.")


def _check_temperature(temperature: float, log_prob: tuple[bool, bool]) -> float:
    number = check_parameter("temperature", temperature, 0, math.inf)
    if number != 1 and not all(log_prob):
        raise ValueError(
            f"temperature={temperature!r} divides logits, so both p and q must be such (log_prob=True), but log_prob "
            f"is {log_prob}. Probabilities can be given as their logarithms."
        )
    return number


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}, but got {value!r}.")


def _shape(values: Tensor) -> str:
    return str(tuple(values.shape))
