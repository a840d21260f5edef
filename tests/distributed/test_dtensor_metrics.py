"""A metric counts each row of DTensors once, whatever their placement on the mesh."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.helpers import assert_same_bits
from tests.support.processes import ProcessPool
from torchdivergence import DivergenceCollection, DivergenceReport, DivergenceStatistics, KLDivergence

PLACEMENTS = {
    "first batch dimension": ["shard 0"],
    "second batch dimension": ["shard 1"],
    "classes": ["shard 2"],
    "replicated": ["replicate"],
    "two dimensions, one replicated": ["shard 0", "replicate"],
    "two dimensions, classes sharded": ["replicate", "shard 2"],
    "one row, replicated": ["replicate"],
    "one row, classes sharded": ["shard 0"],
}
METRICS = ["metric", "batchmean", "statistics", "report", "collection"]


def rows(name: str, case: str, weighted: bool) -> dict[str, Tensor]:
    """What a metric is updated with: a report also without weights and keys."""
    generator = torch.Generator().manual_seed(0)
    shape = () if case.startswith("one row") else (5, 3)
    p, q = torch.randn(2, *shape, 6, generator=generator)
    given = {"p": p, "q": q}
    if weighted:
        given["weights"] = torch.rand(shape, generator=generator)
    if name == "report":
        given["target"] = torch.randint(0, 6, shape, generator=generator)
    if name == "report" and weighted:
        given["keys"] = torch.arange(7, 7 + math.prod(shape[:1]))
    return given


def make(name: str) -> Any:
    return {
        "metric": lambda: KLDivergence(log_prob=True),
        "batchmean": lambda: KLDivergence(log_prob=True, reduction="batchmean"),
        "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True)),
        "report": lambda: DivergenceReport(top_k=(1, 2), keep_sequences=True, worst=4),
        "collection": lambda: DivergenceCollection([KLDivergence(log_prob=True)]),
    }[name]()


def evaluate(name: str, case: str, weighted: bool, plain_keys: bool) -> Tensor:
    """The values of a metric of DTensors, in a process of the group."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,) * len(PLACEMENTS[case]))
    places = [Replicate() if place == "replicate" else Shard(int(place[-1])) for place in PLACEMENTS[case]]
    given, metric = rows(name, case, weighted), make(name)
    batch_dims = given["p"].ndim - 1
    for key, x in given.items():
        dims = x.ndim if key in "pq" else min(x.ndim, batch_dims)
        kept = [Replicate() if isinstance(place, Shard) and place.dim >= dims else place for place in places]
        if key != "keys" or not plain_keys:
            given[key] = distribute_tensor(x, mesh, kept)
    metric.update(**given)
    return values(metric)


def values(metric: Any) -> Tensor:
    found = metric.compute()
    numbers = list(found.values()) if isinstance(found, dict) else [found]
    if isinstance(metric, DivergenceReport):
        kept = metric.sequence_sums()
        numbers += [torch.tensor(metric.worst()).double(), kept.keys.double(), kept.weights, *kept.sums.values()]
    return torch.cat([x.flatten() for x in numbers])


@pytest.mark.parametrize("case", PLACEMENTS)
@pytest.mark.parametrize("name", METRICS)
def test_each_row_of_a_dtensor_counts_once(processes: ProcessPool, name: str, case: str) -> None:
    size = 2 ** len(PLACEMENTS[case])
    processes.resize(size)
    for weighted, plain_keys in ((True, False), (True, True), (False, False))[: 3 if name == "report" else 1]:
        expected = make(name)
        expected.update(**rows(name, case, weighted))
        for found in processes.run(evaluate, *([x] * size for x in (name, case, weighted, plain_keys))):
            assert_same_bits(found, values(expected))


def mix(kind: str) -> str:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, distribute_tensor

    p, q = rows("metric", "replicated", weighted=False).values()
    placed = distribute_tensor(p, init_device_mesh("cpu", (2,)), [Replicate()])
    try:
        KLDivergence(log_prob=True).update(*((placed, q) if kind == "p" else (q, placed)))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["p", "q"])
def test_a_dtensor_beside_a_plain_tensor_is_refused_with_a_hint(two_processes: ProcessPool, kind: str) -> None:
    other = "q" if kind == "p" else "p"
    hint = f"but {other} is none: use torch.distributed.tensor.distribute_tensor({other}, {kind}.device_mesh"
    assert all(hint in text for text in two_processes.run(mix, [kind] * 2))
