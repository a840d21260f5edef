"""Prints the bits of a few hundred values, to compare before and after a change: ``python -m benchmarks.bits``.

Every divergence, dtype, reduction, kind of weights and number of processes is among them, and so are statistics,
reports, collections and gradients. It uses public names only, so that it runs on any version of the package.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import product
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch import Tensor

import torchdivergence as td
from torchdivergence import functional, metrics

DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
PARAMETERS: dict[str, list[dict[str, float]]] = {
    "JensenShannonDivergence": [{"beta": 0.5}, {"beta": 0.1}],
    "AlphaDivergence": [{"alpha": alpha} for alpha in (-0.5, 0, 0.3, 1, 2)],
    "RenyiDivergence": [{"alpha": alpha} for alpha in (0.3, 1, 2)],
}
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name: getattr(functional, getattr(metrics, name).spec.function) for name in sorted(metrics.__all__)
}
Line = tuple[str, str]


def main() -> None:
    """Print all lines."""
    for name, bits in [*_functions(), *_metrics(), *_reports(), *_processes()]:
        print(f"{name}: {bits}")


def logits(*shape: int, seed: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Two tensors of logits, classes last: the second is the first with noise, and has masked classes."""
    generator = torch.Generator().manual_seed(seed)
    p = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    q = p + noise * torch.randn(shape, generator=generator, dtype=torch.float64)
    masked = torch.rand(shape, generator=generator) < 0.1
    return p.masked_fill(masked, -torch.inf), q.masked_fill(masked, -torch.inf)


def bits(values: Tensor) -> str:
    """One value in full, or a digest of many."""
    if values.numel() == 1:
        return float(values.detach()).hex()
    return hashlib.sha256(values.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def _members() -> Iterator[tuple[str, dict[str, float]]]:
    for name in FUNCTIONS:
        for parameter in PARAMETERS.get(name, [{}]):
            yield name, parameter


def _functions() -> Iterator[Line]:
    for (name, parameter), dtype, classes in product(_members(), DTYPES, (3, 200, 33_000)):
        rows = 2 if classes > 1000 else 9
        p, q = (x.to(dtype) for x in logits(rows, classes, seed=classes))
        label = f"{name} {parameter} {dtype} {classes}"
        yield f"{label} logits", bits(FUNCTIONS[name](p, q, True, "none", **parameter))
        a, b = p.double().softmax(-1).to(dtype), q.double().softmax(-1).to(dtype)
        yield f"{label} probabilities", bits(FUNCTIONS[name](a, b, False, "none", **parameter))
        yield f"{label} temperature", bits(FUNCTIONS[name](p, q, True, "none", temperature=2.5, **parameter))
    for name, parameter in _members():
        p, q = (x.float().requires_grad_() for x in logits(9, 200, seed=1))
        torch.autograd.backward(FUNCTIONS[name](p, q, True, "sum", **parameter))
        yield f"{name} {parameter} gradients", f"{bits(_grad(p))} {bits(_grad(q))}"


def _grad(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad


def _metrics() -> Iterator[Line]:
    p, q = logits(6, 5, 40, seed=2)
    generator = torch.Generator().manual_seed(3)
    weights = {
        "no weights": None,
        "mask": torch.rand(6, 5, generator=generator) < 0.7,
        "weights": torch.rand(6, 5, generator=generator, dtype=torch.float64),
    }
    for (name, parameter), reduction in product(_members(), ("mean", "batchmean", "sum", "none")):
        for kind, w in weights.items():
            metric = getattr(td, name)(log_prob=True, reduction=reduction, **parameter)
            for part in range(3):
                metric.update(p[part::3], q[part::3], None if w is None else w[part::3])
            yield f"{name} {parameter} {reduction} {kind}", bits(metric.compute())
        if reduction != "none":
            value = FUNCTIONS[name](p, q, True, reduction, weights=weights["weights"], **parameter)
            yield f"{name} {parameter} {reduction} function", bits(value)
    collection = td.DivergenceCollection(
        [getattr(td, name)(log_prob=True, **PARAMETERS.get(name, [{}])[0]) for name in FUNCTIONS]
    )
    collection.update(p, q)
    yield from ((f"collection {name}", bits(value)) for name, value in collection.compute().items())


def _feed_report(part: slice) -> td.DivergenceReport:
    p, q = logits(8, 30, 60, seed=4)
    ids = torch.randint(0, 60, (8, 30), generator=torch.Generator().manual_seed(5))
    weights = torch.rand(8, 30, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    report = td.DivergenceReport(top_k=(1, 5))
    report.update(p[part], q[part], target=ids[part], weights=weights[part] * (weights[part] > 0.2))
    return report


def _reports() -> Iterator[Line]:
    report = _feed_report(slice(None, None, 2))
    report.merge_state(_feed_report(slice(1, None, 2)))
    yield from ((f"report {name}", bits(value)) for name, value in sorted(report.compute().items()))
    p, q = logits(8, 30, 60, seed=4)
    for name, parameter in _members():
        statistics = td.DivergenceStatistics(getattr(td, name)(log_prob=True, **parameter))
        statistics.update(p, q)
        for value, number in sorted(statistics.compute().items()):
            yield f"statistics {name} {parameter} {value}", bits(number)


def _of_rank(rank: int, world: int, store: str) -> list[Line]:
    dist.init_process_group("gloo", init_method=f"file://{store}/{world}", rank=rank, world_size=world)
    p, q = logits(12, 40, seed=7)
    metrics = [getattr(td, name)(log_prob=True, **parameter) for name, parameter in _members()]
    for metric in metrics:
        metric.update(p[rank::world], q[rank::world])
    lines = [(f"{world} processes {metric}", bits(metric.compute())) for metric in metrics]
    values = _feed_report(slice(rank, None, world)).compute()
    lines += [(f"{world} processes report {name}", bits(value)) for name, value in sorted(values.items())]
    dist.destroy_process_group()
    return lines


def _processes() -> Iterator[Line]:
    with TemporaryDirectory() as store:
        for world in (1, 2, 3):
            with torch.multiprocessing.get_context("spawn").Pool(world) as pool:
                yield from pool.starmap(_of_rank, [(rank, world, store) for rank in range(world)], chunksize=1)[0]


if __name__ == "__main__":
    main()
