"""The comparison of one candidate with the reference, a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from torchdivergence._command.errors import CommandError
from torchdivergence._command.floor import merge_floored
from torchdivergence._command.progress import note, progress_bar
from torchdivergence._command.rounding import LOGITS
from torchdivergence._command.sources import Source, dtype_name
from torchdivergence._command.texts import Batch, Text
from torchdivergence.report import DivergenceReport


class Evaluation(NamedTuple):
    """A candidate and its report.

    Attributes:
        name: Of the candidate.
        report: Over the first sequences.
        dtype: Of its weights, or of what its file stores.
        logits_dtype: Of its logits.
        sequences: How many sequences the report has.
        complete: Whether the report has all sequences.
    """

    name: str
    report: DivergenceReport
    dtype: str
    logits_dtype: str
    sequences: int
    complete: bool


class Pair(NamedTuple):
    """A candidate beside the reference, on the same tokens."""

    name: str
    reference: Source
    candidate: Source
    text: Text

    @property
    def classes(self) -> int:
        """The classes that both have."""
        return min(self.reference.classes, self.candidate.classes)


def evaluate(pair: Pair, report: DivergenceReport, batch_size: int) -> Evaluation:
    """Update the report with all sequences; after ctrl-C, with those that are done."""
    (name, reference, candidate, text), floored, dtype, complete = pair, 0, "", False
    largest = int(text.tokens.max())
    if largest >= pair.classes:
        raise CommandError(
            f"{name}: the tokens go up to {largest:,}, but only {pair.classes:,} classes are in both p and q. The "
            "models differ in their tokens."
        )
    if candidate.classes != reference.classes:
        sizes = f"p has {reference.classes:,} classes, q has {candidate.classes:,}"
        note(f"{name}: {sizes}: only the first {pair.classes:,} are compared.")
    keys = text.keys()
    try:
        with progress_bar(name, text.tokens[:, text.scored_from + 1 :].numel()) as bar:
            for batch in text.batches(batch_size):
                dtype, at_floor = _update(report, pair, batch, keys)
                floored += at_floor
                if bar is not None:
                    bar.update(text.targets(batch).numel())
        complete = True
    except KeyboardInterrupt:
        pass
    done = int(report.to_dict()["sequences"]) if report.update_called else 0
    if not complete:
        note(f"\nInterrupted: {name} has {done} of {len(text.tokens)} sequences.")
    if floored:
        note(f"{name}: targets below the floor of a file: {floored:,}. Their loss is a lower bound.")
    return Evaluation(name, report, candidate.dtype, dtype, done, complete)


@torch.inference_mode()
def _update(report: DivergenceReport, pair: Pair, batch: Batch, keys: torch.Tensor) -> tuple[str, int]:
    """Update with a batch, whose logits are then released. The dtype of q's logits; how many targets are at a floor."""
    target = pair.text.targets(batch)
    p = pair.reference.rows(batch, pair.text)
    q = pair.candidate.rows(batch, pair.text, p)
    p, q = p.first(pair.classes), q.first(pair.classes)
    logits = (p.logits, q.logits) if p.at_floor is None and q.at_floor is None else merge_floored(p, q, target)
    report.update(*logits, target=target, keys=keys[batch.first : batch.first + len(batch.tokens)])
    return dtype_name(q.logits.dtype), p.targets_at_floor(target) + q.targets_at_floor(target)


def base_of_pairs(done: Sequence[Evaluation]) -> Evaluation:
    """The evaluation that the others are compared with: the first one that is not the noise floor, if there is one."""
    return next((evaluation for evaluation in done if evaluation.name != LOGITS), done[0])
