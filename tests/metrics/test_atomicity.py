"""What fails leaves the metric as it was: updates, invalid rows, merges, states that do not fit."""

import math
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor

from tests.support.helpers import fed, pair, tensors
from tests.support.merge_laws import assert_same_bits
from torchdivergence import KLDivergence, _rows

REDUCTIONS = ["mean", "none"]
BAD_BATCHES: dict[str, tuple[Any, ...]] = {
    "classes": (torch.ones(2, 4), torch.ones(2, 5)),
    "negative weight": (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1.0, -1.0])),
    "infinite weight": (torch.ones(2, 4), torch.ones(2, 4), torch.tensor([1.0, math.inf])),
    "weights of another shape": (torch.ones(2, 4), torch.ones(2, 4), torch.ones(3)),
    "no tensor": ([[0.5, 0.5]], torch.ones(1, 2)),
    "no class": (torch.ones(2, 0), torch.ones(2, 0)),
    "one argument": (torch.ones(2, 4),),
}
INVALID = torch.tensor([[0.5, 0.5, 0.0, 0.0], [math.nan, 0.5, 0.0, 0.5], [-0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]])


class Snapshot:
    """All that a user sees of a metric."""

    def __init__(self, metric: KLDivergence) -> None:
        self.metric = metric
        self.seen = metric.update_count, metric._computed, metric._forward_cache, tensors(metric)
        self.bits = [x.clone() for x in tensors(metric)]

    def assert_same(self) -> None:
        count, computed, cache, states = self.seen
        metric = self.metric
        assert (metric.update_count, metric._is_synced) == (count, False)
        assert metric._computed is computed
        assert metric._forward_cache is cache
        assert len(tensors(metric)) == len(states)
        assert all(x is y and torch.equal(x, z) for x, y, z in zip(tensors(metric), states, self.bits, strict=True))


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("step", ["update", "forward"])
@pytest.mark.parametrize("args", BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_refused_batch_changes_nothing(reduction: str, args: tuple, step: str, computed: bool) -> None:
    metric = fed(pair(), reduction=reduction)
    value = metric.compute() if computed else fed(pair(), reduction=reduction).compute()
    before = Snapshot(metric)
    with pytest.raises((TypeError, ValueError)):
        getattr(metric, step)(*args)
    before.assert_same()
    assert_same_bits(metric.compute(), value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("step", ["update", "forward"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_batch_cut_off_midway_changes_nothing(
    reduction: str, step: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = fed(pair(), reduction=reduction)
    metric.compute()
    before = Snapshot(metric)

    def cut_off(*_: Any) -> Tensor:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(_rows, "divergence", cut_off)
        with pytest.raises(error):
            getattr(metric, step)(*pair(seed=1))
    before.assert_same()
    metric.update(*pair(seed=1))
    assert_same_bits(metric.compute(), fed(pair(), pair(seed=1), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nan_policy_raise_speaks_in_compute_and_not_in_update(reduction: str) -> None:
    metric = KLDivergence(nan_policy="raise", reduction=reduction)
    metric.update(INVALID, torch.ones_like(INVALID))
    before = Snapshot(metric)
    for _ in range(2):
        with pytest.raises(ValueError, match="found in 3 of them"):
            metric.compute()
    before.assert_same()
    metric.update(INVALID[1:2], torch.ones(1, 4))
    with pytest.raises(ValueError, match="found in 4 of them"):
        metric.compute()
    metric.reset()
    metric.update(*pair())
    assert_same_bits(metric.compute(), fed(pair(), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nan_policy_raise_refuses_a_batch_in_forward_which_looks_at_its_value(reduction: str) -> None:
    metric = fed(pair(), nan_policy="raise", reduction=reduction)
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="found in 3 of them"):
        metric(INVALID, torch.ones_like(INVALID))
    before.assert_same()


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
def test_nan_policy_omit_leaves_the_invalid_rows_out_and_counts_them(reduction: str) -> None:
    metric = fed(pair(), (INVALID, torch.ones_like(INVALID)), nan_policy="omit", reduction=reduction)
    assert metric.n_invalid == 3
    valid = pair(), (INVALID[:1], torch.ones(1, 4))
    if reduction == "batchmean":  # their items stay in the divisor
        total = fed(*valid, reduction="sum").compute()
        assert_same_bits(metric.compute(), total / 9)
    else:
        assert_same_bits(metric.compute(), fed(*valid, reduction=reduction).compute())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nan_policy_propagate_makes_the_value_nan_and_counts_the_rows(reduction: str) -> None:
    metric = fed(pair(), (INVALID, torch.ones_like(INVALID)), reduction=reduction)
    assert metric.n_invalid == 3
    assert metric.compute().isnan().sum() == (3 if reduction == "none" else 1)


FOREIGN = {
    "another reduction's state": lambda: fed(pair(), reduction="none"),
    "logits": lambda: fed([x.log() for x in pair()], log_prob=True),
    "another dim": lambda: fed(pair(), dim=0),
    "another class": lambda: torchmetrics.KLDivergence(),
    "a foreign dict": lambda: {"total": torch.tensor(1)},
    "an empty dict": dict,
    "a number of another dtype": lambda: {k: v.double() for k, v in fed(pair()).metric_state.items()},
    "a truncated state": lambda: {k: v[:-1] for k, v in fed(pair()).metric_state.items()},
}


@pytest.mark.parametrize("other", FOREIGN.values(), ids=FOREIGN.keys())
def test_merge_state_refuses_what_is_no_state_of_the_same_settings(other: Any) -> None:
    metric = fed(pair())
    metric.compute()
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="merge_state needs the state 'kl_divergence_sums"):
        metric.merge_state(other())
    before.assert_same()


@pytest.mark.parametrize("incoming", [3, None, [1.0]])
def test_merge_state_refuses_what_is_neither_metric_nor_dict(incoming: Any) -> None:
    metric = fed(pair())
    before = Snapshot(metric)
    with pytest.raises(ValueError, match="state"):
        metric.merge_state(incoming)
    before.assert_same()


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_compute_is_fresh_after_merge_state(reduction: str, as_dict: bool) -> None:
    metric, other = fed(pair(), reduction=reduction), fed(pair(seed=1), reduction=reduction)
    metric.compute()
    metric.merge_state(other.metric_state if as_dict else other)
    assert_same_bits(metric.compute(), fed(pair(), pair(seed=1), reduction=reduction).compute())


def saved(metric: KLDivergence) -> dict[str, Any]:
    metric.persistent(True)
    return metric.state_dict()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_loaded_state_goes_on_without_a_warning_and_replaces_what_was_there(reduction: str) -> None:
    state = saved(fed(pair(), reduction=reduction))
    for metric in (KLDivergence(reduction=reduction), fed(pair(seed=3), reduction=reduction)):
        if metric.update_called:
            metric.compute()
        metric.load_state_dict(state)
        assert_same_bits(metric.compute(), fed(pair(), reduction=reduction).compute())
        metric.update(*pair(seed=1))
        assert_same_bits(metric.compute(), fed(pair(), pair(seed=1), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_updates_do_not_reach_the_dict_that_was_loaded(reduction: str) -> None:
    state = saved(fed(pair(), reduction=reduction))
    kept = saved(fed(pair(), reduction=reduction))
    metric = KLDivergence(reduction=reduction)
    metric.load_state_dict(state)
    metric.update(*pair(seed=1))
    metric(*pair(seed=2))
    metric.reset()
    torch.testing.assert_close(state, kept, rtol=0, atol=0)


@pytest.mark.parametrize("spoil", [lambda x: x[:-1], lambda x: x.double(), lambda x: x.tolist()])
@pytest.mark.parametrize("inside", [True, False])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil: Any, inside: bool) -> None:
    metric = fed(pair())
    module = torch.nn.ModuleDict({"metric": metric}) if inside else metric
    metric.persistent(True)
    bad = {name: spoil(state) for name, state in module.state_dict().items()}
    metric.compute()
    before = Snapshot(metric)
    with pytest.raises(RuntimeError, match=r"kl_divergence_sums\S* does not fit KLDivergence"):
        module.load_state_dict(bad)
    before.assert_same()


@pytest.mark.parametrize("bad", [[torch.zeros(2)], torch.zeros(2), 3])
def test_rows_that_are_no_bits_are_refused_and_change_nothing(bad: Any) -> None:
    metric = fed(pair(), reduction="none")
    [name] = saved(metric)
    before = Snapshot(metric)
    with pytest.raises(RuntimeError, match=r"kl_divergence_rows\S* does not fit KLDivergence"):
        metric.load_state_dict({name: bad})
    before.assert_same()
