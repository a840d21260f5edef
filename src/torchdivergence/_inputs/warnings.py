"""Signs that a tensor holds something else than was announced. It knows nothing of divergences."""

import torch
from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

from torchdivergence._inputs.arguments import Rows

_ROWS = 8
_ROUNDING, _COARSE_ROUNDING = 1e-4, 1e-2  # by how much a sum of probabilities may be off, of 16 bits the latter

LOGARITHMS = (
    "{name} was announced as probabilities (log_prob=False), but no number in it is positive: these are "
    "log-probabilities. Write log_prob=True, or a pair (of p, of q) if the other one is not."
)
LOGITS = (
    "{name} was announced as probabilities (log_prob=False), but its rows have negative numbers and are invalid. If "
    "these are logits, write log_prob=True, or a pair (of p, of q) if the other one is not."
)
PROBABILITIES = (
    "{name} was announced as log-probabilities or logits (log_prob=True), but holds rows of non-negative numbers that "
    "sum to 1. If these are probabilities, write log_prob=False, or a pair (of p, of q) if the other one is not."
)


class Watch:
    """Looks at the first rows that come, and warns once, or raises where there is no doubt.

    On the CPU it does so at once, elsewhere when a value is asked for: until then nobody waits for the device.
    """

    def __init__(self) -> None:
        self._found: list[tuple[str, Tensor]] | None = None

    def look(self, rows: Rows, log_prob: tuple[bool, bool], nan_policy: str) -> None:
        """Look at some rows of positive weight, unless some have been looked at before."""
        on_cpu = rows.p.device.type == "cpu"
        if self._found is not None or not rows.p.numel():
            return
        p, q, kept = _first_rows(rows)
        if on_cpu and not kept.any():
            return
        found = [
            (text.format(name=name), sign)
            for name, x, is_log in zip("pq", (p, q), log_prob, strict=True)
            for text, sign in _signs(x, kept, is_log).items()
        ]
        if on_cpu and nan_policy != "omit":
            for text, sign in found:
                if sign and text in {LOGARITHMS.format(name=name) for name in "pq"}:
                    raise ValueError(text)
        self._found = found
        if on_cpu:
            self.tell()

    def tell(self) -> None:
        """Warn of what was found; this waits for the device."""
        found, self._found = self._found or [], self._found and []
        if texts := [text for text, sign in found if sign]:
            rank_zero_warn(" ".join(texts), UserWarning)


def _first_rows(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Some of p and of q, ``[rows, classes]``, and whether they count, ``[rows]``."""
    p, q = rows.p.detach(), rows.q.detach()
    kept = p.new_ones(p.shape[:-1], dtype=torch.bool) if rows.weights is None else rows.weights > 0
    while p.dim() > 2:
        p, q, kept = p[0], q[0], kept[0]
    if p.dim() == 1:
        p, q, kept = p[None], q[None], kept[None]
    return p[:_ROWS], q[:_ROWS], kept[:_ROWS]


def _signs(x: Tensor, kept: Tensor, is_log: bool) -> dict[str, Tensor]:
    """For each text, whether it is to be said of ``[rows, classes]``: a number on the device."""
    negative = (x < 0).any(-1)
    if not is_log:
        wrong, positive = (negative | ~kept).all() & kept.any(), ((x > 0).any(-1) & kept).any()
        return {LOGARITHMS: wrong & ~positive, LOGITS: wrong & positive}
    rounding = _ROUNDING if x.dtype.itemsize > 2 else _COARSE_ROUNDING
    of_one = (x.double().sum(-1) - 1).abs() < rounding
    return {PROBABILITIES: ((of_one & ~negative) | ~kept).all() & kept.any()} if x.shape[-1] > 1 else {}
