"""In a step under torch.compile the numbers have the bits that they have outside: they are left as they are."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.divergences import HELLINGER, Member, jensen_shannon, renyi
from tests.support.helpers import pair
from tests.support.merge_laws import assert_same_bits
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

# torch's own, where it imports what its compiler needs
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
BATCHES = [pair(rows, seed) for seed, rows in enumerate([5, 3, 1, 4])]


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["eager", "inductor"])
def compiled(request: pytest.FixtureRequest) -> Callable[[Callable], Callable]:
    return lambda step: torch.compile(step, backend=request.param)


def whole() -> tuple[Tensor, Tensor]:
    p, q = (torch.cat(x) for x in zip(*BATCHES, strict=True))
    return p, q


@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_compiled_step_updates_a_metric(compiled: Callable, call: str) -> None:
    metric = KLDivergence()

    @compiled
    def step(p: Tensor, q: Tensor) -> tuple[Any, Tensor]:
        return getattr(metric, call)(p * 1.0, q), (p - q).abs().sum()

    for p, q in BATCHES:
        value, difference = step(p, q)
        torch.testing.assert_close(difference, (p - q).abs().sum())  # compiled code rounds in its own way
        if call == "forward":
            assert_same_bits(value, kl_divergence(p, q))
    assert_same_bits(metric.compute(), kl_divergence(*whole()))


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
    assert_same_bits(values["KLDivergence"], kl_divergence(*whole()))
    assert_same_bits(values["TotalVariationDistance"], total_variation_distance(*whole()))


# of the compiler, wherever code that it leaves as it is returns something with a gradient
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
def test_a_compiled_loss_has_the_same_value_and_gradient(compiled: Callable) -> None:
    teacher, student = (x.log() for x in whole())
    student.requires_grad_()
    step = compiled(lambda p, q: kl_divergence(p, q, True) * 2)
    value = step(teacher, student)
    value.backward()
    gradient, student.grad = student.grad, None
    again = kl_divergence(teacher, student, True) * 2
    again.backward()
    assert_same_bits(value.detach(), again.detach())
    assert torch.equal(gradient, student.grad)


@pytest.mark.parametrize("member", [HELLINGER, jensen_shannon(0.5), renyi(2)], ids=str)
def test_other_divergences_may_stand_in_compiled_code(member: Member) -> None:
    metric = member.metric(**member.parameter)

    @torch.compile(backend="eager")
    def step(p: Tensor, q: Tensor) -> Tensor:
        metric.update(p, q)
        return member.function(p, q, **member.parameter)

    for p, q in BATCHES:
        assert_same_bits(step(p, q), member.function(p, q, **member.parameter))
    assert_same_bits(metric.compute(), member.function(*whole(), **member.parameter))


def test_one_compiled_step_serves_more_metrics_than_the_compiler_makes_versions_of_a_function() -> None:
    @torch.compile(backend="eager")
    def step(metric: KLDivergence, p: Tensor, q: Tensor) -> Tensor:
        metric.update(p, q)
        return p * 2

    metrics = [KLDivergence(base=2 + i) for i in range(torch._dynamo.config.recompile_limit + 3)]
    for i, metric in enumerate(metrics):
        for p, q in BATCHES:
            step(metric, p, q)
        assert_same_bits(metric.compute(), kl_divergence(*whole(), base=2 + i))
