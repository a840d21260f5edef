"""Small metrics, batches for them, and exact comparison of values."""

import copy
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from torchdivergence import DivergenceReport, KLDivergence

Batch = tuple[Tensor, ...]
Reduction = Literal["mean", "batchmean", "sum", "none"]
COPIES: dict[str, Callable[[Any], Any]] = {
    "clone": lambda metric: metric.clone(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda metric: pickle.loads(pickle.dumps(metric)),
}


def pair(rows: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities of four classes, p far from q."""
    p, q = torch.rand(2, rows, 4, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    return p, q


def kl_after(*batches: Sequence[Tensor], **settings: Any) -> KLDivergence:
    """A metric that was updated with these batches."""
    return updated(KLDivergence(**settings), batches)


def updated(metric: Any, batches: Iterable[Sequence[Tensor]]) -> Any:
    for batch in batches:
        metric.update(*batch)
    return metric


def concatenated(batches: Iterable[Sequence[Tensor]]) -> Batch:
    """All batches as one."""
    return tuple(torch.cat(x) for x in zip(*batches, strict=True))


def state_tensors(metric: KLDivergence) -> list[Tensor]:
    [state] = metric.metric_state.values()
    return list(state) if isinstance(state, list) else [state]


def assert_same_bits(value: Tensor, other: Tensor) -> None:
    """Float64 tensors with the same bits; NaN equals NaN."""
    assert value.dtype == other.dtype == torch.float64
    assert value.shape == other.shape
    same = value.view(torch.int64) == other.view(torch.int64)
    assert (same | (value.isnan() & other.isnan())).all(), f"{value} is not {other}"


def assert_all_same(values: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert_same_bits(value, expected[name])


class Snapshot:
    """All that a user can observe of a metric, to assert later that it is unchanged."""

    def __init__(self, metric: KLDivergence) -> None:
        self.metric = metric
        self.seen = metric.update_count, metric._computed, metric._forward_cache, state_tensors(metric)
        self.bits = [x.clone() for x in state_tensors(metric)]

    def assert_unchanged(self) -> None:
        count, computed, cache, states = self.seen
        metric = self.metric
        assert (metric.update_count, metric._is_synced) == (count, False)
        assert metric._computed is computed
        assert metric._forward_cache is cache
        assert len(state_tensors(metric)) == len(states)
        tensors = zip(state_tensors(metric), states, self.bits, strict=True)
        assert all(x is y and torch.equal(x, z) for x, y, z in tensors)


def profile_of(report: DivergenceReport) -> Any:
    """The means of a computed report by position."""
    return report._results["profile"]
