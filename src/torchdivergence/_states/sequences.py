"""Sums over each sequence, kept with its key: what a paired comparison of two reports needs.

A record takes ``8 * (2 + columns)`` bytes: the key, and as float64 the sum of the weights W and of W x for each column.
The bits of a record depend on the rows of its sequence alone, not on padding. Records are appended, and states merge by
concatenation. Readers sort records by key, so results do not depend on their order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdivergence._states.moments import cluster_sums
from torchdivergence._states.part import NamedParts, Part, RowBatch

SEQUENCES = "sequences"
"""Name of the result that holds the records."""
OF_TARGET = "accuracy_q"
"""A column that a sequence has if it has targets. It is never NaN then."""


class SequenceSums(NamedTuple):
    """Records of sequences, in the order of their keys."""

    keys: Tensor
    """Int64."""
    weights: Tensor
    """Float64: the number of rows of each sequence, or the sum of their weights."""
    sums: dict[str, Tensor]
    """Float64: the weighted sums of each compared column. A column that no sequence has is missing."""


def check_pairs(a: SequenceSums, b: SequenceSums, labels: tuple[str, str], invalid: tuple[int, int] = (0, 0)) -> None:
    """Raise unless both have the same keys, each once, each sequence has the same weight in both, and targets or not.

    Args:
        a: Records of sequences.
        b: Those to pair them with.
        labels: Names of a and b.
        invalid: Numbers of invalid rows, which have no weight.
    """
    for label, side in zip(labels, (a, b), strict=True):
        _check_side(side, label)
    missing = {labels[1]: _without(a.keys, b.keys), labels[0]: _without(b.keys, a.keys)}
    advice = _advice(labels, invalid)
    if any(missing.values()):
        found = (f"{label!r} lacks {_listed(keys)}" for label, keys in missing.items() if keys)
        raise ValueError(f"both reports must be on the same sequences, but {', and '.join(found)}{advice}.")
    if not len(a.keys):
        raise ValueError("there must be sequences to compare, but both reports are empty.")
    if differ := a.keys[a.weights != b.weights].tolist():
        raise ValueError(
            "a sequence must have the same weight (its number of valid rows, or the sum of their weights) in both "
            f"reports, but the weights differ for {_listed(differ)}"
            f"{advice or ': update both with the same targets and weights'}."
        )


def _check_side(side: SequenceSums, label: str) -> None:
    if repeated := _repeated(side.keys):
        raise ValueError(
            f"each sequence must have a key of its own, but {label!r} repeats {_listed(repeated)}: pass keys to "
            "update, one integer for each sequence. Without them a key is a hash of the targets, and equal texts have "
            "equal keys."
        )
    without_target = side.keys[side.sums[OF_TARGET].isnan()].tolist() if OF_TARGET in side.sums else []
    if len(without_target) < len(side.keys) and without_target:  # an invalid row may make all sums NaN
        raise ValueError(
            "targets must be passed in every update or in none, but in "
            f"{label!r} there are none for {_listed(without_target)}."
        )


def _advice(labels: tuple[str, str], invalid: tuple[int, int]) -> str:
    found = [f"{number:,} in {label!r}" for label, number in zip(labels, invalid, strict=True) if number]
    if not found:
        return ""
    return f". Invalid rows do not count, and there are {' and '.join(found)}: give them weight 0 in both reports"


def _repeated(keys: Tensor) -> list[int]:
    """The sorted keys that occur more than once."""
    return list(dict.fromkeys(keys[1:][keys[1:] == keys[:-1]].tolist()))


def _without(keys: Tensor, others: Tensor) -> list[int]:
    return keys[~torch.isin(keys, others)].tolist()


def _listed(keys: list[int]) -> str:
    """Some keys as text."""
    shown = ", ".join(map(str, keys[:3]))
    if len(keys) > 3:
        return f"{len(keys):,} keys, such as {shown}"
    return f"the key{'s' * (len(keys) > 1)} {shown}"


class SequenceRecords:
    """A record of each sequence. A column that a batch lacks is NaN.

    Sequences without a row of positive weight are dropped when the records are read: an update waits for no device.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.size = 2 + len(self.columns)  # of a record, in int64 values

    def records(self, batch: RowBatch) -> Tensor:
        """The records of a batch, one after the other."""
        assert batch.keys is not None
        weights = batch.valid_weights
        missing = torch.full_like(weights, torch.nan)
        columns = torch.stack([batch.columns.get(name, missing) for name in self.columns])
        shape = len(batch.keys), weights.shape[1:].numel()
        sums, totals = cluster_sums(columns.reshape(len(columns), *shape), weights.reshape(shape))
        numbers = torch.cat([totals[None], sums]) + 0.0  # no -0.0, which padding would turn into 0.0
        return torch.cat([batch.keys[None], numbers.view(torch.int64)]).T.flatten()

    def read(self, records: Tensor) -> SequenceSums:
        """The records by key."""
        table = records.view(-1, self.size)
        table = table[table[:, 1] > 0]  # the bits of a positive weight
        keys, *columns = table[table[:, 0].argsort(stable=True)].T.contiguous()
        weights, *sums = (column.view(torch.float64) for column in columns)
        known = {name: x for name, x in zip(self.columns, sums, strict=True) if not x.isnan().all()}
        return SequenceSums(keys, weights, known)


class PartsAndRecords(NamedParts):
    """A state that is made of parts with names, followed by the records of sequences."""

    grows = True

    def __init__(self, parts: Mapping[str, Part[Any]], sequences: SequenceRecords) -> None:
        super().__init__(parts)
        self.sequences = sequences

    def extended(self, state: Tensor, batch: RowBatch) -> Tensor:
        """A new state, with the records of the batch at the end."""
        head = super().extended(state[: self.size], batch)
        return torch.cat([head, state[self.size :], self.sequences.records(batch)])

    def merge_all(self, states: Sequence[Tensor]) -> Tensor:
        """Merge the parts, and concatenate the records."""
        head = super().merge_all([state[: self.size] for state in states])
        return torch.cat([head, *(state[self.size :] for state in states)])

    def fits(self, length: int) -> bool:
        """Whether the records are whole."""
        return length >= self.size and (length - self.size) % self.sequences.size == 0

    @property
    def length(self) -> str:
        """The lengths that a state may have."""
        return f"{self.size} + {self.sequences.size} n"

    def read(self, state: Tensor) -> dict[str, Any]:
        """The result of each part, and the records."""
        state = state.cpu()
        return super().read(state[: self.size]) | {SEQUENCES: self.sequences.read(state[self.size :])}
