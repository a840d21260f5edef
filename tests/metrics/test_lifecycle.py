"""A metric's life in torchmetrics: moved and cast, copied, collected, tracked, plotted."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker

from tests.support.helpers import fed, pair, tensors
from tests.support.merge_laws import assert_same_bits
from torchdivergence import KLDivergence
from torchdivergence.functional import kl_divergence

SETTINGS = [{"reduction": "mean"}, {"reduction": "none"}]
CASTS: dict[str, Callable[[torch.nn.Module], Any]] = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "double": lambda module: module.double(),
    "to(bfloat16)": lambda module: module.to(torch.bfloat16),
    "to(cpu, float16)": lambda module: module.to("cpu", torch.float16),
    "set_dtype": lambda module: [m.set_dtype(torch.float16) for m in module.modules() if m is not module],
}


@pytest.mark.parametrize("computed", [True, False])
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS.keys())
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_no_cast_of_a_model_reaches_the_bits(settings: dict, cast: Callable, computed: bool) -> None:
    metric = fed(pair(), **settings)
    value = fed(pair(), **settings).compute()
    if computed:
        metric.compute()
    cast(torch.nn.ModuleDict({"metric": metric}))
    assert [x.dtype for x in tensors(metric)] == [torch.int64]
    assert_same_bits(metric.compute(), value)
    metric.update(*pair(seed=1))
    assert_same_bits(metric.compute(), fed(pair(), pair(seed=1), **settings).compute())
    metric.reset()
    metric.update(*pair())
    assert_same_bits(metric.compute(), value)


@pytest.mark.parametrize("duplicate", [lambda m: m.clone(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_copy_has_the_settings_and_a_life_of_its_own(settings: dict, duplicate: Callable) -> None:
    settings = settings | {"base": 2, "nan_policy": "omit", "dim": 0}
    metric = fed(pair(), **settings)
    other = duplicate(metric)
    other.update(*pair(seed=1))
    metric.reset()
    assert_same_bits(other.compute(), fed(pair(), pair(seed=1), **settings).compute())
    assert not metric.update_called
    assert all(not x.any() for x in tensors(metric))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_forward_gives_the_value_of_the_batch_and_keeps_the_sum(settings: dict) -> None:
    metric = KLDivergence(**settings)
    for seed in range(3):
        assert_same_bits(metric(*pair(seed=seed)), kl_divergence(*pair(seed=seed), **settings))
    assert metric.update_count == 3
    assert_same_bits(metric.compute(), fed(*(pair(seed=s) for s in range(3)), **settings).compute())


@pytest.mark.parametrize("step", ["update", "forward"])
def test_no_state_is_written_in_place(step: str) -> None:
    metric = fed(pair())
    [state] = tensors(metric)
    before, version = state.clone(), state._version
    getattr(metric, step)(*pair(seed=1))
    metric.merge_state(fed(pair(seed=2)))
    metric.reset()
    assert torch.equal(state, before)
    assert state._version == version


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
def test_empty_batches_change_nothing(reduction: str) -> None:
    empty = torch.empty(0, 4), torch.empty(0, 4)
    value = fed(empty, pair(), empty, (*empty, torch.empty(0)), reduction=reduction).compute()
    assert_same_bits(value, fed(pair(), reduction=reduction).compute())


@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
def test_compute_before_update_is_nan_with_the_warning_of_torchmetrics(reduction: str) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert KLDivergence(reduction=reduction).compute().isnan()


# MetricCollection takes metrics for one another when their states are equal after the first batch

LOGS = {"p and q": False, "logits": True, "logits of q": (False, True)}


def spread(first: bool) -> tuple[Tensor, Tensor]:
    """A square batch that every setting takes: p = q in the first, as after an initialisation from the teacher."""
    p, q = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(7))
    return (p, p) if first else (p, q)


def collection() -> dict[str, torchmetrics.Metric]:
    ours = {
        f"{name}, {reduction}, dim {dim}, base {base}": KLDivergence(logs, reduction, dim=dim, base=base)
        for name, logs in LOGS.items()
        for reduction in ("mean", "sum", "batchmean", "none")
        for dim in (0, 1)
        for base in (None, 2)
    }
    return ours | {"torchmetrics": torchmetrics.KLDivergence()}


def test_metrics_of_a_collection_have_the_values_that_they_have_alone() -> None:
    together, alone = MetricCollection(collection()), collection()
    for first in (True, False, False):
        together.update(*spread(first))
        for metric in alone.values():
            metric.update(*spread(first))
    values = together.compute()
    assert values.keys() == alone.keys()
    for name, metric in alone.items():
        torch.testing.assert_close(values[name], metric.compute(), rtol=0, atol=0, msg=name)


def test_metrics_of_one_state_share_it_in_a_collection() -> None:
    metrics = MetricCollection({r: KLDivergence(reduction=r) for r in ("mean", "batchmean", "sum")})
    metrics.update(*pair())
    assert len(metrics.compute_groups) == 1


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("between", ["nothing", "reset"])
def test_a_collection_may_go_on_with_forward_after_update(reduction: str, between: str) -> None:
    metrics = MetricCollection({unit: KLDivergence(reduction=reduction, base=b) for unit, b in UNITS.items()})
    metrics.update(*pair())
    if between == "reset":
        metrics.reset()
    metrics(*pair(seed=1))
    batches = [pair(seed=1)] if between == "reset" else [pair(), pair(seed=1)]
    for unit, value in metrics.compute().items():
        assert_same_bits(value, fed(*batches, reduction=reduction, base=UNITS[unit]).compute())


UNITS = {"nats": None, "bits": 2}


def test_a_tracker_remembers_each_epoch_and_finds_the_smallest() -> None:
    tracker = MetricTracker(KLDivergence())
    epochs = [pair(seed=seed) for seed in range(4)]
    for epoch in epochs:
        tracker.increment()
        tracker.update(*epoch)
    values = torch.stack([kl_divergence(*epoch) for epoch in epochs])
    assert_same_bits(tracker.compute_all(), values)
    best, step = tracker.best_metric(return_step=True)
    assert (best, step) == (values.min().item(), values.argmin().item())


@pytest.fixture
def agg() -> None:
    mpl.use("Agg")


@pytest.mark.usefixtures("agg")
@pytest.mark.parametrize("given", ["nothing", "one value", "values"])
def test_plot_draws_what_it_is_given_on_axes_of_its_own(given: str) -> None:
    metric = fed(pair())
    values = [metric.compute() + i for i in range(3)]
    figure, axes = metric.plot({"nothing": None, "one value": values[0], "values": values}[given])
    [line] = axes.get_lines()[:1]
    assert isinstance(figure, mpl.figure.Figure)
    drawn = torch.as_tensor(line.get_ydata()).flatten().tolist()
    assert drawn == pytest.approx([v.item() for v in (values if given == "values" else values[:1])])
    plt.close(figure)


@pytest.mark.usefixtures("agg")
def test_plot_draws_on_the_axes_that_it_is_given() -> None:
    figure, own = plt.subplots()
    _, axes = fed(pair()).plot(ax=own)
    assert axes is own
    assert not math.isnan(axes.get_ylim()[0])
    plt.close(figure)
