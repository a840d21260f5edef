"""Under torch.compile, functions and metrics give the same bits as without it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._functorch.config
import torch._inductor.config
from torch import Tensor

from tests.support.divergences import HELLINGER, Divergence, jensen_shannon, renyi
from tests.support.helpers import assert_same_bits, concatenated, pair
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]
BATCHES = [pair(rows, seed) for seed, rows in enumerate([5, 3, 1, 4])]


@pytest.fixture(autouse=True)
def _graphs_are_compiled_anew() -> Iterator[None]:
    """On disk, graphs are found by the names of their operators; C++ code, which takes longest, by itself."""
    no_graphs = torch._inductor.config.patch(fx_graph_cache=False)
    no_gradients = torch._functorch.config.patch(enable_autograd_cache=False)
    torch._dynamo.reset()
    with no_graphs, no_gradients:
        yield
    torch._dynamo.reset()


@pytest.fixture(params=["eager", "inductor"])
def compiled(request: pytest.FixtureRequest) -> Compiler:
    return lambda step: torch.compile(step, backend=request.param)


def recompile_limit() -> int:
    config: Any = torch._dynamo.config
    return config.recompile_limit if hasattr(config, "recompile_limit") else config.cache_size_limit  # before torch 2.7


def all_rows() -> tuple[Tensor, Tensor]:
    p, q = concatenated(BATCHES)
    return p, q


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_compiled_step_updates_a_metric(compiled: Compiler, call: str) -> None:
    metric = KLDivergence()

    @compiled
    def step(p: Tensor, q: Tensor) -> tuple[Any, Tensor]:
        return getattr(metric, call)(p * 1.0, q), (p - q).abs().sum()

    for p, q in BATCHES:
        value, difference = step(p, q)
        torch.testing.assert_close(difference, (p - q).abs().sum())  # compiled code rounds differently
        if call == "forward":
            assert_same_bits(value, kl_divergence(p, q))
    assert_same_bits(metric.compute(), kl_divergence(*all_rows()))


def test_a_compiled_evaluation_computes_and_resets() -> None:
    metric = KLDivergence()

    @torch.compile(backend="eager")
    def evaluate(p: Tensor, q: Tensor) -> Tensor:
        metric.reset()
        metric.update(p, q)
        return metric.compute() + 0

    for p, q in BATCHES:
        assert_same_bits(evaluate(p, q), kl_divergence(p, q))


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_compiled_step_updates_a_collection(call: str) -> None:
    collection = DivergenceCollection([KLDivergence(), TotalVariationDistance()])
    step = torch.compile(lambda p, q: getattr(collection, call)(p * 1.0, q), backend="eager")
    for p, q in BATCHES:
        step(p, q)
    values = collection.compute()
    assert_same_bits(values["KLDivergence"], kl_divergence(*all_rows()))
    assert_same_bits(values["TotalVariationDistance"], total_variation_distance(*all_rows()))


# raised by the compiler after a graph break if the result requires gradients
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
def test_a_compiled_loss_has_the_same_value_and_gradient(compiled: Compiler) -> None:
    teacher, student = (x.log() for x in all_rows())
    student.requires_grad_()
    step = compiled(lambda p, q: kl_divergence(p, q, True) * 2)
    value = step(teacher, student)
    expected = kl_divergence(teacher, student, True) * 2
    assert_same_bits(value.detach(), expected.detach())
    [gradient], [expected_gradient] = (torch.autograd.grad(x, student) for x in (value, expected))
    assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize("divergence", [HELLINGER, jensen_shannon(0.5), renyi(2)], ids=str)
def test_other_divergences_may_be_compiled(divergence: Divergence) -> None:
    metric = divergence.metric(**divergence.parameter)

    @torch.compile(backend="eager")
    def step(p: Tensor, q: Tensor) -> Tensor:
        metric.update(p, q)
        return divergence.function(p, q, **divergence.parameter)

    for p, q in BATCHES:
        assert_same_bits(step(p, q), divergence.function(p, q, **divergence.parameter))
    assert_same_bits(metric.compute(), divergence.function(*all_rows(), **divergence.parameter))


def test_one_compiled_step_serves_more_metrics_than_the_recompile_limit() -> None:
    @torch.compile(backend="eager")
    def step(metric: KLDivergence, p: Tensor, q: Tensor) -> Tensor:
        metric.update(p, q)
        return p * 2

    metrics = [KLDivergence(base=2 + i) for i in range(recompile_limit() + 3)]
    for i, metric in enumerate(metrics):
        for p, q in BATCHES:
            step(metric, p, q)
        assert_same_bits(metric.compute(), kl_divergence(*all_rows(), base=2 + i))
