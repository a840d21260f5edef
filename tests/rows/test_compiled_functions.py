"""Compiled losses and transforms: the bits of eager ones, and one operator for the rows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.fx import GraphModule

from tests.support.divergences import (
    DIVERGENCES,
    HELLINGER,
    KL,
    Divergence,
    renyi,
)
from tests.support.graphs import SOME, compiles, gradient_in_p, operators_of, quiet
from tests.support.textbook import (
    CASES,
    LOGITS,
    PROBABILITIES,
    Case,
    V,
    assert_close,
    assert_equal,
)

pytestmark = quiet


class Backend:
    """One of torch's backends, which keeps the graphs it is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.graphs: list[torch.fx.Graph] = []

    def __call__(self, module: GraphModule, inputs: list[Any]) -> Any:
        self.graphs.append(module.graph)
        return torch._dynamo.lookup_backend(self.name)(module, inputs)


def assert_compiled_losses_are_eager(case: Case, backend: str, divergences: list[Divergence], sizes: list[int]) -> None:
    """Values, gradients and the number of graphs, for batches of several sizes."""

    def losses(ps: list[Tensor], qs: list[Tensor]) -> list[Tensor]:
        return [case.ours(divergence)(p * 2, q) * 3 for divergence, p, q in zip(divergences, ps, qs, strict=True)]

    chosen = Backend(backend)
    compiled = torch.compile(losses, fullgraph=True, backend=chosen)
    for size in sizes:
        p, q = case.rows(size, 4, seed=size, dtype=torch.float32)
        found = []
        for function in (compiled, losses):
            ps, qs = ([x.clone().requires_grad_() for _ in divergences] for x in (p, q))
            values = function(ps, qs)
            grads = torch.autograd.grad([x.sum() for x in values], [*ps, *qs], materialize_grads=True)
            groups = zip(values, grads[: len(ps)], grads[len(ps) :], strict=True)
            found.append({str(x): group for x, group in zip(divergences, groups, strict=True)})
        assert_equal(found[0], found[1])
    assert len(chosen.graphs) == min(len(sizes), 2)  # of a fixed size, then of any size
    for graph in chosen.graphs:
        assert operators_of(graph).count("row_divergence") == len(divergences)


@compiles
@pytest.mark.parametrize(
    ("case", "backend"),
    [(LOGITS, "eager"), (LOGITS, "aot_eager"), (PROBABILITIES, "aot_eager")],
    ids=["logits-eager", "logits-aot_eager", "probabilities-aot_eager"],
)
def test_compiled_losses_have_the_bits_of_eager_ones(case: Case, backend: str) -> None:
    assert_compiled_losses_are_eager(case, backend, DIVERGENCES if backend == "eager" else SOME, [3, 5, 9])


@compiles
@pytest.mark.parametrize("name", list(CASES)[2:])
def test_compiled_reductions_have_the_bits_of_eager_ones(name: str) -> None:
    sizes = [3] if "weights" in CASES[name].settings else [3, 5, 9, 12]
    assert_compiled_losses_are_eager(CASES[name], "aot_eager", [KL, HELLINGER, renyi(2)], sizes)


COMPILED: dict[str, Callable[..., Any]] = {
    "vmap": lambda f, p, q: vmap(f)(p, q),
    "grad": lambda f, p, q: gradient_in_p(f, q)(p),
    "gradients of each sample": lambda f, p, q: vmap(grad(lambda x, y: f(x, y).sum()))(p, q),
    "jvp": lambda f, p, q: jvp(lambda x: f(x, q), (p,), (V,))[1],
    "jvp of grad": lambda f, p, q: jvp(gradient_in_p(f, q), (p,), (V,))[1],
    "grad of grad": lambda f, p, q: grad(lambda x: gradient_in_p(f, q)(x).square().sum())(p),
}


@compiles
@pytest.mark.parametrize("name", COMPILED)
def test_transforms_may_be_compiled(name: str) -> None:
    def function(p: Tensor, q: Tensor) -> Any:
        return COMPILED[name](LOGITS.ours(KL), p, q)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*LOGITS.rows()), function(*LOGITS.rows()), 1e-12)
