"""A DivergenceCollection gives what its metrics give alone, from one pass and one synchronisation."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import distributed as torchmetrics_distributed

import torchdivergence as td
from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence import DivergenceCollection, KLDivergence
from torchdivergence._rows import reference

Batch = tuple[Tensor, ...]


def members(**settings: Any) -> dict[str, td.KLDivergence]:
    made: dict[str, Any] = {
        name: getattr(td, name)(**settings)
        for name in ("KLDivergence", "ReverseKLDivergence", "JeffreysDivergence", "JensenShannonDivergence")
    }
    made |= {"tv": td.TotalVariationDistance(**settings), "hellinger": td.HellingerDistance(**settings)}
    made |= {"ce": td.CrossEntropy(**settings), "h": td.Entropy(**settings)}
    made |= {"renyi": td.RenyiDivergence(0.5, **settings), "bits": KLDivergence(base=2, reduction="sum", **settings)}
    return made


def batches(number: int = 3, rows: int = 5) -> list[Batch]:
    made = [(torch.randn(rows, 7), torch.randn(rows, 7), torch.rand(rows)) for _ in range(number)]
    return [(made[0][0], made[0][0], made[0][2]), *made[1:]]  # at first p == q


def alone(data: list[Batch], **settings: Any) -> dict[str, Tensor]:
    made = members(log_prob=True, **settings)
    for metric in made.values():
        for args in data:
            metric.update(*args)
    return {name: metric.compute() for name, metric in made.items()}


def assert_all_same(values: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert_same_bits(value, expected[name])


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
def test_each_value_is_that_of_the_metric_alone(nan_policy: str) -> None:
    data = batches()
    if nan_policy == "omit":
        data[1][0][2, 3] = torch.nan
    collection = DivergenceCollection(members(log_prob=True, nan_policy=nan_policy))
    for args in data:
        collection.update(*args)
    assert_all_same(collection.compute(), alone(data, nan_policy=nan_policy))


def test_a_plain_collection_is_right_too_beside_other_metrics() -> None:
    data = batches()
    collection = torchmetrics.MetricCollection({**members(log_prob=True), "other": torchmetrics.KLDivergence(True)})
    for p, q, weights in data:
        collection.update(p, q, weights=weights)
    values = collection.compute()
    values.pop("other")
    assert_all_same(values, alone(data))


def test_forward_gives_the_batch_and_takes_it_in() -> None:
    data = batches()
    collection = DivergenceCollection(members(log_prob=True))
    for args in data:
        assert_all_same(collection(*args), alone([args]))
    assert_all_same(collection.compute(), alone(data))


def test_a_batch_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    compare = reference._compare
    monkeypatch.setattr(reference, "_compare", lambda *args: passes.append(1) or compare(*args))
    collection = DivergenceCollection(members(log_prob=True))
    data = batches(2)
    collection.update(*data[0])
    collection(*data[1])
    assert len(passes) == 2


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), lambda x: x.clone()])
def test_a_copy_goes_on_by_itself(again: Any) -> None:
    data = batches()
    collection = DivergenceCollection(members(log_prob=True), prefix="val_")
    collection.update(*data[0])
    other = again(collection)
    for args in data[1:]:
        other.update(*args)
    assert_all_same(other.compute(), {f"val_{name}": value for name, value in alone(data).items()})
    assert_all_same(collection.compute(), {f"val_{name}": value for name, value in alone(data[:1]).items()})


def test_names_reset_and_metrics_added_later() -> None:
    collection = DivergenceCollection([KLDivergence()], prefix="a_", postfix="_z")
    collection.add_metrics({"tv": td.TotalVariationDistance()})
    p, q = torch.rand(2, 3, 4).unbind()
    collection.update(p, q)
    collection.reset()
    collection.update(p, p)
    assert collection.compute() == {"a_KLDivergence_z": 0, "a_tv_z": 0}
    assert collection.clone(prefix="b_").compute().keys() == {"b_KLDivergence_z", "b_tv_z"}


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_refused_batch_changes_nothing(call: str) -> None:
    data = batches()
    collection = DivergenceCollection(members(log_prob=True))
    collection.update(*data[1])
    with pytest.raises(ValueError, match="same shape"):
        getattr(collection, call)(torch.rand(2, 3), torch.rand(2, 4))
    assert all(metric.update_count == 1 for metric in collection.values())
    assert_all_same(collection.compute(), alone(data[1:2]))


def test_metrics_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match=r"got KLDivergence.*MetricCollection"):
        DivergenceCollection([torchmetrics.KLDivergence()])
    with pytest.raises(ValueError, match="the same log_prob, dim and temperature"):
        DivergenceCollection({"a": KLDivergence(), "b": KLDivergence(log_prob=True)})


def computed(data: list[Batch], by_metric: bool) -> tuple[dict[str, Tensor], int]:
    """The values, computed one by one or together; and the number of gatherings."""
    calls = []

    def gather(state: Tensor, group: Any = None) -> list[Tensor]:
        calls.append(state.shape)
        return torchmetrics_distributed.gather_all_tensors(state, group)

    collection = DivergenceCollection(members(log_prob=True, dist_sync_fn=gather))
    for args in data:
        collection.update(*args)
    values = {n: m.compute() for n, m in collection.items()} if by_metric else collection.compute()
    return values, len(calls)


@pytest.mark.parametrize("by_metric", [True, False])
@pytest.mark.parametrize("share", [[2, 1], [0, 3]])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # of a rank without rows
def test_processes_gather_once_for_all_metrics(two_ranks: Ranks, by_metric: bool, share: list[int]) -> None:
    data = batches()
    own = [data[: share[0]], data[share[0] :]]
    for values, gatherings in two_ranks.run(computed, own, [by_metric] * two_ranks.size):
        assert gatherings == 1
        assert_all_same(values, alone(data))


def twice(state: Tensor, group: Any = None) -> list[Tensor]:  # noqa: ARG001
    return [state, state]


MIXED: dict[str, dict[str, Any]] = {
    "all": {},
    "own": {"sync_on_compute": False},
    "group": {"process_group": [0]},
    "gathered otherwise": {"dist_sync_fn": twice},
    "synced by hand": {"sync_on_compute": False},
}


def mixed(alone: bool, data: list[Batch]) -> dict[str, Tensor]:
    """The values of metrics that differ in how they meet those of the other processes."""
    metrics = {}
    for name, settings in MIXED.items():
        group = dist.new_group(settings["process_group"]) if "process_group" in settings else None
        metrics[name] = KLDivergence(log_prob=True, reduction="sum", **settings | {"process_group": group})
    collection = torch.nn.ModuleDict(metrics) if alone else DivergenceCollection(metrics)
    for args in data:
        for metric in collection.values():
            metric.update(*args)
    collection["synced by hand"].sync()
    in_group = dist.get_rank() == 0  # another rank may not ask for the value of the group
    return {name: metric.compute() for name, metric in collection.items() if name != "group" or in_group}


def test_metrics_that_synchronise_in_different_ways_do_so_in_a_collection_too(two_ranks: Ranks) -> None:
    data = batches()
    shares = [data[:2], data[2:]]
    apart, together = (two_ranks.run(mixed, [alone] * 2, shares) for alone in (True, False))
    for values, expected in zip(together, apart, strict=True):
        assert_all_same(values, expected)
