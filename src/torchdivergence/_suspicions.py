"""Signs that a tensor holds something else than was announced. It knows nothing of divergences."""

from torch import Tensor
from torchmetrics.utilities.prints import rank_zero_warn

_ROWS = 8
_ROUNDING = 1e-2  # by how much a sum of bfloat16 probabilities may be off

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

    def look(self, p: Tensor, q: Tensor, log_prob: tuple[bool, bool]) -> None:
        """Look at ``[*batch, classes]``, unless rows have been looked at before."""
        if self._found is not None or not p.numel():
            return
        found = []
        for name, x, is_log in zip("pq", (p, q), log_prob, strict=True):
            found += [(text.format(name=name), sign) for text, sign in _signs(_first_rows(x), is_log).items()]
        if p.device.type == "cpu":
            for text, sign in found:
                if sign and "these are log-probabilities" in text:
                    raise ValueError(text)
        self._found = found
        if p.device.type == "cpu":
            self.tell()

    def tell(self) -> None:
        """Warn of what was found; this waits for the device."""
        found, self._found = self._found or [], self._found and []
        if texts := [text for text, sign in found if sign]:
            rank_zero_warn(" ".join(texts), UserWarning)


def _first_rows(x: Tensor) -> Tensor:
    while x.dim() > 2:
        x = x[0]
    return x.detach().view(-1, x.shape[-1])[:_ROWS] if x.dim() == 1 else x.detach()[:_ROWS]


def _signs(x: Tensor, is_log: bool) -> dict[str, Tensor]:
    """For each text, whether it is to be said of ``[rows, classes]``: a number on the device."""
    negative = (x < 0).any(-1)
    if not is_log:
        wrong, positive = negative.all(), (x > 0).any()
        return {LOGARITHMS: wrong & ~positive, LOGITS: wrong & positive}
    of_one = (x.double().sum(-1) - 1).abs() < _ROUNDING
    return {PROBABILITIES: (of_one & ~negative).all()} if x.shape[-1] > 1 else {}
