"""Rows of logits, some classes of which are known only by an upper bound."""

from typing import NamedTuple

from torch import Tensor


class Rows(NamedTuple):
    """The predictions of a model for some sequences, ``[sequences, rows, classes]``."""

    logits: Tensor
    at_floor: Tensor | None = None
    """The classes whose logit is an upper bound. With it, logits are log-probabilities."""

    def first(self, classes: int) -> "Rows":
        """The first classes only."""
        return Rows(self.logits[..., :classes], None if self.at_floor is None else self.at_floor[..., :classes])

    def targets_at_floor(self, target: Tensor) -> int:
        """The number of targets whose loss is only a lower bound."""
        return 0 if self.at_floor is None else int(self.at_floor.gather(-1, target[..., None]).sum())
