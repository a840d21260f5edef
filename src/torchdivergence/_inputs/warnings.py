"""Warnings about tensors that look like something else than they were passed as."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from torchdivergence._inputs.tensors import Rows
from torchdivergence._tensor_kinds import has_values

_ROWS = 8
_SUM_TOLERANCE, _SUM_TOLERANCE_16_BITS = 1e-4, 1e-2  # rounding errors of a sum of probabilities

LOGARITHMS = (
    "{name} was passed as probabilities (log_prob=False), but no number in it is positive: these are "
    "log-probabilities. Write log_prob=True, or a pair (of p, of q) if the other one is not."
)
LOGITS = (
    "{name} was passed as probabilities (log_prob=False), but its rows have negative numbers and are invalid. If "
    "these are logits, write log_prob=True, or a pair (of p, of q) if the other one is not."
)
PROBABILITIES = (
    "{name} was passed as log-probabilities or logits (log_prob=True), but holds rows of non-negative numbers that "
    "sum to 1. If these are probabilities, write log_prob=False, or a pair (of p, of q) if the other one is not."
)
ONE_CLASS = (
    "p and q have a single class, so that every row is 0. For binary probabilities stack both classes: "
    "torch.stack([1 - p, p], -1)."
)
PADDING = (
    "p and q have rows of nothing but -100, the padding value of trainers, which count as 0. Leave these rows out with "
    "weights, such as weights=labels != -100."
)


class InputSanityCheck:
    """Inspects the first rows that a metric sees, and warns once, or raises where there is no doubt.

    On the CPU this happens at once. On other devices the warning waits until a value is computed, so that no update
    waits for the device.
    """

    def __init__(self) -> None:
        self._inspected = False
        self._pending: list[_FirstRows] = []

    def __getstate__(self) -> dict[str, object]:
        """Rows that wait stay behind: they are on a device that a copy may not have."""
        return {"_inspected": self._inspected, "_pending": []}

    def inspect(self, rows: Rows, log_prob: tuple[bool, bool], nan_policy: str) -> None:
        """Inspect some rows of positive weight, unless some were inspected before."""
        p, q = rows.p, rows.q
        if self._inspected or not (isinstance(p, Tensor) and isinstance(q, Tensor) and p.numel()):
            return  # what is projected is logits
        on_cpu = p.device.type == "cpu"
        if on_cpu and not (has_values(p) and has_values(q)):
            return
        first = _FirstRows(*_first_rows(p, q, rows.weights), log_prob)
        if not on_cpu:
            self._pending = [first.copied()]
        elif not first.kept.any():
            return
        else:
            texts = first.warnings()
            if nan_policy != "omit":
                for text in texts:
                    if text in {LOGARITHMS.format(name=name) for name in "pq"}:
                        raise ValueError(text)
            _warn(texts)
        self._inspected = True

    def emit(self) -> None:
        """Inspect the rows that wait, and warn. This waits for the device."""
        pending, self._pending = self._pending, []
        for first in pending:
            _warn(first.warnings())


def _warn(texts: list[str]) -> None:
    if texts:
        rank_zero_warn(" ".join(texts), UserWarning)


class _FirstRows(NamedTuple):
    """Some rows of p and of q, ``[rows, classes]``; whether their weight is positive, ``[rows]``; what they are."""

    p: Tensor
    q: Tensor
    kept: Tensor
    log_prob: tuple[bool, bool]

    def copied(self) -> "_FirstRows":
        """The rows in memory of their own."""
        return self._replace(p=self.p.clone(), q=self.q.clone(), kept=self.kept.clone())

    def warnings(self) -> list[str]:
        """The texts that apply. This waits for the device once."""
        signs = {
            text.format(name=name): sign
            for name, x, is_log in zip("pq", (self.p, self.q), self.log_prob, strict=True)
            for text, sign in _signs(x, self.kept, is_log).items()
        }
        signs |= _signs_of_both(self.p, self.q, self.kept)
        return [
            text for text, applies in zip(signs, torch.stack([*signs.values()]).cpu().tolist(), strict=True) if applies
        ]


def _first_rows(p: Tensor, q: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Some rows of p and of q, ``[rows, classes]``, and whether their weight is positive, ``[rows]``."""
    p, q = p.detach(), q.detach()
    while p.dim() > 2:
        p, q, weights = p[0], q[0], None if weights is None else weights[0]
    if p.dim() == 1:
        p, q, weights = p[None], q[None], None if weights is None else weights[None]
    p, q = p[:_ROWS], q[:_ROWS]
    return p, q, p.new_ones(len(p), dtype=torch.bool) if weights is None else weights[:_ROWS] > 0


def _signs(x: Tensor, kept: Tensor, is_log: bool) -> dict[str, Tensor]:
    """For each text, whether it applies to rows ``[rows, classes]``, as a tensor on the device."""
    negative = (x < 0).any(-1)
    if not is_log:
        positive, wrong = ((x > 0).any(-1) & kept).any(), negative & kept
        return {LOGARITHMS: (negative | ~kept).all() & kept.any() & ~positive, LOGITS: _most(wrong, kept) & positive}
    tolerance = _SUM_TOLERANCE if x.dtype.itemsize > 2 else _SUM_TOLERANCE_16_BITS
    sums_to_one = (x.double().sum(-1) - 1).abs() < tolerance
    return {PROBABILITIES: ((sums_to_one & ~negative) | ~kept).all() & kept.any()} if x.shape[-1] > 1 else {}


def _signs_of_both(p: Tensor, q: Tensor, kept: Tensor) -> dict[str, Tensor]:
    if p.shape[-1] == 1:
        return {ONE_CLASS: kept.any()}
    return {PADDING: ((p == -100).all(-1) & (q == -100).all(-1) & kept).any()}


def _most(some: Tensor, kept: Tensor) -> Tensor:
    """Whether more than half of the rows that are kept are among some."""
    return 2 * some.sum() > kept.sum()
