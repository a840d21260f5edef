"""Textbook formulas in plain differentiable torch operations: the values and derivatives of ordinary rows."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.support.cases import each
from tests.support.divergences import Divergence, LogProb

Function = Callable[..., Tensor]
ROWS, CLASSES = 3, 4


def entropy(p: Tensor) -> Tensor:
    return -p * p.log()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return p * (p / q).log()


def jensen_shannon(p: Tensor, q: Tensor, beta: float) -> Tensor:
    m = beta * p + (1 - beta) * q
    return entropy(m) - beta * entropy(p) - (1 - beta) * entropy(q)


def powers(p: Tensor, q: Tensor, order: float) -> Tensor:
    return p**order * q ** (1 - order)


def alpha(p: Tensor, q: Tensor, order: float) -> Tensor:
    if order in (0, 1):
        return kl(p, q) if order else kl(q, p)
    return (powers(p, q, order) - p) / (order * (order - 1))


def squared_hellinger(p: Tensor, q: Tensor) -> Tensor:
    return (p.sqrt() - q.sqrt()).square() / 2


SUMMANDS: dict[str, Function] = {
    "KLDivergence": kl,
    "ReverseKLDivergence": lambda p, q: kl(q, p),
    "JeffreysDivergence": lambda p, q: kl(p, q) + kl(q, p),
    "JensenShannonDivergence": jensen_shannon,
    "TotalVariationDistance": lambda p, q: (p - q).abs() / 2,
    "ExpectedAcceptance": torch.minimum,
    "HellingerDistance": squared_hellinger,
    "SquaredHellingerDistance": squared_hellinger,
    "ChiSquaredDivergence": lambda p, q: (p - q).square() / q,
    "AlphaDivergence": alpha,
    "RenyiDivergence": lambda p, q, order: kl(p, q) if order == 1 else powers(p, q, order),
    "Entropy": lambda p, q: entropy(p) + 0 * q,
    "CrossEntropy": lambda p, q: -p * q.log(),
}
"""What is summed over the classes, for probabilities."""


def textbook_rows(
    divergence: Divergence, p: Tensor, q: Tensor, log_prob: LogProb = True, temperature: float | Tensor = 1.0
) -> Tensor:
    """The value of each row."""
    logs = log_prob if isinstance(log_prob, tuple) else (log_prob, log_prob)
    weights = (
        (x.double() / temperature).exp() if is_log else x.double() for x, is_log in zip((p, q), logs, strict=True)
    )
    p, q = (x / x.sum(-1, keepdim=True) for x in weights)
    total = SUMMANDS[divergence.name](p, q, *divergence.parameter.values()).sum(-1)
    if divergence.name == "HellingerDistance":
        return total.sqrt()
    if divergence.name == "RenyiDivergence" and divergence.parameter["alpha"] != 1:
        return total.log() / (divergence.parameter["alpha"] - 1)
    return total


def textbook(
    divergence: Divergence,
    p: Tensor,
    q: Tensor,
    log_prob: LogProb = True,
    reduction: str = "mean",
    *,
    temperature: float | Tensor = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """What the function of a divergence returns for ordinary rows."""
    values = textbook_rows(divergence, p, q, log_prob, temperature)
    weights = torch.ones_like(values) if weights is None else weights.expand_as(values)
    if reduction == "none":
        return values * weights
    total = (values * weights).sum()
    if reduction == "mean":
        return total / weights.sum()
    return total / values.shape[0] if reduction == "batchmean" else total


class Case(NamedTuple):
    """How a function is called, and rows for it."""

    log_prob: LogProb
    settings: Mapping[str, Any] = {}

    def ours(self, divergence: Divergence) -> Function:
        """The function of the package, of p and q and further settings."""
        settings = {"reduction": "none", **divergence.parameter, **self.settings}
        return lambda p, q, **more: divergence.function(p, q, self.log_prob, **settings, **more)

    def textbook(self, divergence: Divergence) -> Function:
        """The same by the textbook."""
        settings = {"reduction": "none", **self.settings}
        return lambda p, q, **more: textbook(divergence, p, q, self.log_prob, **settings, **more)

    def both(self, divergence: Divergence) -> tuple[Function, Function]:
        return self.ours(divergence), self.textbook(divergence)

    def rows(self, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Ordinary rows, ``[*shape]``; probabilities do not sum to 1."""
        x, y = normal(*(shape or (ROWS, CLASSES)), seed=seed)
        is_log = self.log_prob if isinstance(self.log_prob, tuple) else (self.log_prob, self.log_prob)
        p, q = (x if log else 1.5 * (0.7 * x).softmax(-1) for x, log in zip((x, y), is_log, strict=True))
        return p.to(dtype), q.to(dtype)


def normal(*shape: int, seed: int) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).unbind()
    return x, y


WEIGHTS = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
SIDES = {"p": (True, False), "q": (False, True), "both": (True, True)}
V, W = normal(3, 4, seed=3)
"""Directions."""
LOGITS, PROBABILITIES = Case(True), Case(False)
SCALES = {"logits": LOGITS, "probabilities": PROBABILITIES}
CASES = {
    **SCALES,
    "mean of p as probabilities and q as logits": Case((False, True), {"reduction": "mean"}),
    "weighted mean at a temperature": Case(True, {"reduction": "mean", "weights": WEIGHTS, "temperature": 0.7}),
    "weighted sum": Case(False, {"reduction": "sum", "weights": WEIGHTS}),
}

every_scale = each("case", SCALES.values())
every_case = each("case", CASES.values())


def leaves(*tensors: Tensor) -> list[Tensor]:
    """Copies that require gradients."""
    return [x.detach().clone().requires_grad_() for x in tensors]


def gradients(value: Tensor, inputs: Iterable[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    """The gradients of the sum, zeros where there is none."""
    inputs = tuple(inputs)
    if not value.requires_grad:  # of a formula that is linear
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(value.sum(), inputs, create_graph=create_graph, materialize_grads=True)


def assert_close(found: Any, expected: Any, tolerance: float = 1e-9, message: str = "") -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, msg=lambda text: f"{message} {text}")


def assert_equal(found: Any, expected: Any, message: str = "") -> None:
    """Tensors, or sequences or mappings of them, with the same bits."""
    assert_close(found, expected, 0, message)


def hessian_product(function: Function, p: Tensor, q: Tensor, v: Tensor = V, w: Tensor = W) -> tuple[Tensor, ...]:
    """The Hessian of the sum times (v, w)."""
    p, q = leaves(p, q)
    grads = gradients(function(p, q), (p, q), create_graph=True)
    return gradients((grads[0] * v).sum() + (grads[1] * w).sum(), (p, q))
