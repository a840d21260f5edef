"""A metric counts each row of DTensors once, whatever their placement on the mesh."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.helpers import assert_same_bits
from tests.support.processes import ProcessPool
from torchdivergence import DivergenceCollection, DivergenceReport, DivergenceStatistics, KLDivergence

pytestmark = pytest.mark.usefixtures("one_thread")

PLACEMENTS = {
    "first batch dimension": ["shard 0"],
    "second batch dimension": ["shard 1"],
    "classes": ["shard 2"],
    "replicated": ["replicate"],
    "two dimensions, one replicated": ["shard 0", "replicate"],
    "two dimensions, classes sharded": ["replicate", "shard 2"],
}
METRICS = ["metric", "batchmean", "statistics", "report", "collection"]


def rows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 5, 3, 6, generator=generator)
    return p, q, torch.rand(5, 3, generator=generator), torch.randint(0, 6, (5, 3), generator=generator)


def make(name: str) -> Any:
    return {
        "metric": lambda: KLDivergence(log_prob=True),
        "batchmean": lambda: KLDivergence(log_prob=True, reduction="batchmean"),
        "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True)),
        "report": lambda: DivergenceReport(top_k=(1, 2), keep_sequences=True, worst=4),
        "collection": lambda: DivergenceCollection([KLDivergence(log_prob=True)]),
    }[name]()


def evaluate(name: str, placements: list[str], weighted: bool) -> Tensor:
    """The values of a metric of DTensors, in a process of the group."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    shape = (2,) if len(placements) == 1 else (2, 2)
    mesh = init_device_mesh("cpu", shape)
    places = [Replicate() if place == "replicate" else Shard(int(place[-1])) for place in placements]
    batch = [Replicate() if isinstance(place, Shard) and place.dim == 2 else place for place in places]
    p, q, weights, target = rows()
    arguments: dict[str, Any] = {"weights": distribute_tensor(weights, mesh, batch)} if weighted else {}
    if name == "report":
        arguments["target"] = distribute_tensor(target, mesh, batch)
    metric = make(name)
    metric.update(distribute_tensor(p, mesh, places), distribute_tensor(q, mesh, places), **arguments)
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
    placements = PLACEMENTS[case]
    size = 2 ** len(placements)
    processes.resize(size)
    p, q, weights, target = rows()
    for weighted in {True, name == "report"}:  # a report without weights, too
        arguments: dict[str, Any] = {"weights": weights} if weighted else {}
        arguments |= {"target": target} if name == "report" else {}
        expected = make(name)
        expected.update(p, q, **arguments)
        for found in processes.run(evaluate, [name] * size, [placements] * size, [weighted] * size):
            assert_same_bits(found, values(expected))


def mix(kind: str) -> str:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, distribute_tensor

    p, q, *_ = rows()
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
