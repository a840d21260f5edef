"""Traced functions: one operator for the rows, the same bits, and nothing that is read too early."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functionalize, grad, jvp
from torch.fx.experimental.proxy_tensor import make_fx

from tests.support.divergences import (
    DIVERGENCES,
    HELLINGER,
    KL,
    TOTAL_VARIATION,
    Divergence,
    every_divergence,
    jensen_shannon,
    renyi,
)
from tests.support.graphs import gradient_in_p, operators_of, other_rows, quiet
from tests.support.textbook import (
    CASES,
    LOGITS,
    WEIGHTS,
    Case,
    V,
    W,
    assert_close,
    assert_equal,
    every_scale,
)

pytestmark = quiet


UNWEIGHTED = {name: case for name, case in CASES.items() if "weights" not in case.settings}


unweighted = pytest.mark.parametrize("case", UNWEIGHTED.values(), ids=UNWEIGHTED.keys())


REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])


def of_all(case: Case) -> Callable[..., dict[str, Tensor]]:
    """The values of all divergences: one trace takes much less time than one for each."""

    def values(p: Tensor, q: Tensor) -> dict[str, Tensor]:
        return {str(divergence): case.ours(divergence)(p, q) for divergence in DIVERGENCES}

    return values


TRACERS: dict[str, dict[str, Any]] = {
    "real": {},
    "fake": {"tracing_mode": "fake"},
    "symbolic": {"tracing_mode": "symbolic"},
    "pre_dispatch": {"pre_dispatch": True},
}


@unweighted
@pytest.mark.parametrize("tracer", TRACERS)
def test_a_traced_graph_has_one_operator_for_the_rows_and_takes_other_rows(case: Case, tracer: str) -> None:
    function = of_all(case)
    traced = make_fx(function, **TRACERS[tracer])(*case.rows())
    assert not [node for node in traced.graph.nodes if node.op == "get_attr"]  # a constant
    assert set(operators_of(traced.graph)) <= {"row_divergence", "exact_sum"}
    nodes = [node for node in traced.graph.nodes if "row_divergence" in str(node.target)]
    assert len(nodes) == len(DIVERGENCES)
    assert all([x.op for x in node.all_input_nodes] == ["placeholder", "placeholder"] for node in nodes)
    assert_equal(traced(*other_rows(case, 3, 4)), function(*other_rows(case, 3, 4)))


@REDUCTIONS
def test_a_traced_graph_takes_other_weights(reduction: str) -> None:
    case = Case(True, {"reduction": reduction})

    def function(p: Tensor, q: Tensor, weights: Tensor) -> dict[str, Tensor]:
        return {str(x): case.ours(x)(p, q, weights=weights) for x in DIVERGENCES}

    traced = make_fx(function, tracing_mode="symbolic")(*case.rows(), WEIGHTS)
    others = *other_rows(case, 3, 4), WEIGHTS + 1 / 3
    assert_equal(traced(*others), function(*others))


@every_divergence
@every_scale
def test_a_traced_gradient_is_one_operator_more(divergence: Divergence, case: Case) -> None:
    def gradient(p: Tensor, q: Tensor) -> Any:
        return grad(lambda x, y: case.ours(divergence)(x, y).sum(), (0, 1))(p, q)

    traced = make_fx(gradient, tracing_mode="symbolic")(*case.rows())
    assert operators_of(traced.graph) == ["row_divergence_and_masses", "row_gradients_by_masses"]
    assert_equal(traced(*other_rows(case, 3, 4)), gradient(*other_rows(case, 3, 4)))


@pytest.mark.parametrize("divergence", [KL, TOTAL_VARIATION, HELLINGER, jensen_shannon(0.1), renyi(2)], ids=str)
def test_a_traced_hessian_takes_other_rows(divergence: Divergence) -> None:
    def product(p: Tensor, q: Tensor, v: Tensor) -> Tensor:
        return jvp(gradient_in_p(LOGITS.ours(divergence), q), (p,), (v,))[1]

    traced = make_fx(product)(*LOGITS.rows(), V)
    others = *other_rows(LOGITS, 3, 4), W
    assert_close(traced(*others), product(*others), 1e-12)


@unweighted
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the shapes are checked once, while it traces
def test_functionalized_and_script_traced_functions_have_the_same_bits(case: Case) -> None:
    function, others = of_all(case), other_rows(case, 3, 4)
    expected = function(*others)
    assert_equal(functionalize(function)(*others), expected)
    assert_equal(make_fx(functionalize(function))(*case.rows())(*others), expected)
    # torch's own check compares with a second trace
    assert_equal(torch.jit.trace(function, case.rows(), check_trace=False, strict=False)(*others), expected)
