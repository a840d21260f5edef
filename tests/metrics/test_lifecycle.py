"""The life of a metric: update, forward, compute, merge_state, reset, and casts of the module it belongs to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import Metric

from tests.support.helpers import Reduction, assert_same_bits, kl_after, pair, state_tensors
from torchdivergence import DivergenceReport, KLDivergence
from torchdivergence.functional import kl_divergence

some_reductions = pytest.mark.parametrize("reduction", ["mean", "none"])

CASTS: dict[str, Callable[[torch.nn.Module], Any]] = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "double": lambda module: module.double(),
    "to(bfloat16)": lambda module: module.to(torch.bfloat16),
    "to(cpu, float16)": lambda module: module.to("cpu", torch.float16),
    "set_dtype": lambda module: [m.set_dtype(torch.float16) for m in module.modules() if isinstance(m, Metric)],
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS.keys())
@some_reductions
def test_casting_a_module_does_not_change_the_state(
    reduction: Reduction, cast: Callable[[torch.nn.Module], Any], computed: bool
) -> None:
    metric = kl_after(pair(), reduction=reduction)
    value = kl_after(pair(), reduction=reduction).compute()
    if computed:
        metric.compute()
    cast(torch.nn.ModuleDict({"metric": metric}))
    assert [x.dtype for x in state_tensors(metric)] == [torch.int64]
    assert_same_bits(metric.compute(), value)
    metric.update(*pair(seed=1))
    assert_same_bits(metric.compute(), kl_after(pair(), pair(seed=1), reduction=reduction).compute())
    metric.reset()
    metric.update(*pair())
    assert_same_bits(metric.compute(), value)


@some_reductions
def test_forward_returns_the_value_of_the_batch_and_accumulates_it(reduction: Reduction) -> None:
    metric = KLDivergence(reduction=reduction)
    for seed in range(3):
        assert_same_bits(metric(*pair(seed=seed)), kl_divergence(*pair(seed=seed), reduction=reduction))
    assert metric.update_count == 3
    assert_same_bits(metric.compute(), kl_after(*(pair(seed=s) for s in range(3)), reduction=reduction).compute())


@pytest.mark.parametrize("step", ["update", "forward"])
def test_no_state_is_written_in_place(step: str) -> None:
    metric = kl_after(pair())
    [state] = state_tensors(metric)
    before, version = state.clone(), state._version
    getattr(metric, step)(*pair(seed=1))
    metric.merge_state(kl_after(pair(seed=2)))
    metric.reset()
    assert torch.equal(state, before)
    assert state._version == version


@pytest.mark.parametrize("as_dict", [True, False])
@some_reductions
def test_compute_is_not_cached_across_merge_state(reduction: Reduction, as_dict: bool) -> None:
    metric, other = kl_after(pair(), reduction=reduction), kl_after(pair(seed=1), reduction=reduction)
    metric.compute()
    metric.merge_state(other.metric_state if as_dict else other)
    assert_same_bits(metric.compute(), kl_after(pair(), pair(seed=1), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
def test_empty_batches_change_nothing(reduction: Reduction) -> None:
    empty = torch.empty(0, 4), torch.empty(0, 4)
    value = kl_after(empty, pair(), empty, (*empty, torch.empty(0)), reduction=reduction).compute()
    assert_same_bits(value, kl_after(pair(), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
def test_compute_before_update_is_nan_with_the_warning_of_torchmetrics(reduction: Reduction) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert KLDivergence(reduction=reduction).compute().isnan()


MAKE: dict[str, Callable[[], Any]] = {
    "sum": KLDivergence,
    "rows": lambda: KLDivergence(reduction="none"),
    "report": lambda: DivergenceReport(False),
    "kept": lambda: DivergenceReport(False, keep_sequences=True, worst=2),
}
KEYS = {"keys": torch.arange(5)}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("build", ["meta", "cpu"])
@pytest.mark.parametrize("held", [True, False], ids=["in a module", "alone"])
def test_a_metric_without_values_begins_empty(name: str, build: str, held: bool) -> None:
    (p, q), make, keys = pair(), MAKE[name], KEYS if name == "kept" else {}
    with torch.device(build):
        metric = make()
    if build == "cpu":
        metric.update(p, q, **keys)
    (torch.nn.ModuleList([metric]) if held else metric).to_empty(device="cpu")
    expected = make()
    expected.update(p, q, **keys)
    for _ in range(2):
        metric.update(p, q, **keys)
        assert str(metric.compute()) == str(expected.compute())
        if name == "kept":
            assert len(metric.sequence_sums().keys) == len(metric.worst()) + 3 == 5
        metric.reset()


def test_a_loaded_state_goes_to_the_device_of_the_metric() -> None:
    source = KLDivergence()
    source.persistent(True)
    source.update(*pair())
    metric = KLDivergence().to("meta")
    metric.persistent(True)
    metric.load_state_dict(source.state_dict())
    assert {x.device.type for x in state_tensors(metric)} == {"meta"}
