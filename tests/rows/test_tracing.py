"""Traced, exported, compiled and fake: one operator, the same bits, and nothing that is read too early."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functionalize, grad, jvp, vmap
from torch.fx import GraphModule
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
from tests.support.textbook import (
    CASES,
    LOGITS,
    PROBABILITIES,
    WEIGHTS,
    Case,
    Function,
    assert_close,
    assert_equal,
    every_scale,
    gradients,
    leaves,
    normal,
)
from torchdivergence import _rows as rows_of_the_package

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # raised by torch when it looks whether its fake tensors are views
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning"),
]
UNWEIGHTED = {name: case for name, case in CASES.items() if "weights" not in case.settings}
unweighted = pytest.mark.parametrize("case", UNWEIGHTED.values(), ids=UNWEIGHTED.keys())
compiles = pytest.mark.usefixtures("fresh_compiler")
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
V, W = normal(3, 4, seed=3)  # directions
OPERATORS = rows_of_the_package.operators


@pytest.fixture
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that remembers nothing: what it keeps on disk is found by the names of operators only."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def targets(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def operators_of(graph: torch.fx.Graph) -> list[str]:
    """The names of the package's operators in a graph."""
    return [name.split(".")[1] for name in targets(graph) if name.startswith("torchdivergence.")]


def of_all(case: Case) -> Callable[..., dict[str, Tensor]]:
    """The values of all divergences: one trace takes much less time than one for each."""

    def values(p: Tensor, q: Tensor) -> dict[str, Tensor]:
        return {str(divergence): case.ours(divergence)(p, q) for divergence in DIVERGENCES}

    return values


def gradient_in_p(function: Function, q: Tensor) -> Function:
    return grad(lambda x: function(x, q).sum())


def other_rows(case: Case, *shape: int) -> tuple[Tensor, Tensor]:
    return case.rows(*shape, seed=7)


# Graphs

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


# Export


class AllDivergences(torch.nn.Module):
    """The values of all divergences by their names, so that one export takes the time of one."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.divergences = {str(x): x for x in DIVERGENCES}

    def forward(self, p: Tensor, q: Tensor, weights: Tensor) -> dict[str, Tensor]:
        return {name: self.case.ours(x)(p, q, weights=weights) for name, x in self.divergences.items()}


# Weights bring the constants NaN and inf into a program
SAVES_NAN = not (2, 7) <= torch.__version__ < (2, 9)  # type: ignore[operator]


def saved_and_loaded(program: Any) -> Any:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


EXPORTS = {  # the rows, the reduction, whether export is strict and whether the rows require gradients
    "strict": (LOGITS, "none", True, False),
    "strict, the mean with gradients": (PROBABILITIES, "mean", True, True),
    "non-strict": (PROBABILITIES, "none", False, False),
    "non-strict, the sum with gradients": (LOGITS, "sum", False, True),
}


@compiles
@pytest.mark.parametrize(("case", "reduction", "strict", "requires_grad"), EXPORTS.values(), ids=EXPORTS.keys())
def test_an_exported_program_is_saved_and_takes_any_number_of_rows(
    case: Case, reduction: str, strict: bool, requires_grad: bool
) -> None:
    module = AllDivergences(Case(case.log_prob, {"reduction": reduction}))
    p, q = (x.requires_grad_(requires_grad) for x in case.rows())
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (p, q, WEIGHTS), dynamic_shapes=({0: batch},) * 3, strict=strict)
    assert operators_of(program.graph).count("row_divergence") == len(DIVERGENCES)
    assert set(operators_of(program.graph)) <= {"row_divergence", "exact_sum"}
    others = *other_rows(case, 9, 4), WEIGHTS.repeat(3) + 1 / 3
    expected = module(*others)
    for each in [program, saved_and_loaded(program)] if SAVES_NAN else [program]:
        values = each.module()(*others)
        assert values.keys() == expected.keys()
        assert all(torch.equal(values[name], value) for name, value in expected.items())


@compiles
def test_an_exported_loss_has_gradients() -> None:
    class Loss(torch.nn.Module):
        def forward(self, p: Tensor, q: Tensor) -> Tensor:
            return KL.function(p, q, True, temperature=0.7)

    program = torch.export.export(Loss(), LOGITS.rows())
    found, expected = (
        gradients(loss(x, y), (x, y))
        for loss in (program.module(), Loss())
        for x, y in [leaves(*other_rows(LOGITS, 3, 4))]
    )
    assert_equal(found, expected)


# Compilation


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
    assert_compiled_losses_are_eager(case, backend, DIVERGENCES, [3, 5, 9])


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


# Meta tensors and fake tensors

SHAPES = {"none": (2, 3), "mean": (), "sum": (), "batchmean": ()}


@every_divergence
@every_scale
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_meta_tensors_have_values_and_derivatives_of_the_right_shape(
    divergence: Divergence, case: Case, reduction: str
) -> None:
    function = Case(case.log_prob, {"reduction": reduction}).ours(divergence)
    for is_weighted in (False, True):
        inputs = [x.to("meta").requires_grad_() for x in case.rows(2, 3, 4, dtype=torch.bfloat16)]
        inputs += [torch.empty(2, 3, device="meta").requires_grad_()] if is_weighted else []
        value = function(*inputs[:2], weights=inputs[2] if is_weighted else None)
        assert (value.shape, value.dtype, value.device.type) == (SHAPES[reduction], torch.float64, "meta")
        grads = gradients(value, inputs, create_graph=True)
        for x, g in zip(inputs, grads, strict=True):
            assert (g.shape, g.dtype, g.device) == (x.shape, x.dtype, x.device)
        assert [x.shape for x in gradients(grads[0], inputs)] == [x.shape for x in inputs]


@every_divergence
@every_scale
def test_fake_tensors_have_values_of_the_right_shape(divergence: Divergence, case: Case) -> None:
    for reduction, shape in SHAPES.items():
        function = Case(case.log_prob, {"reduction": reduction}).ours(divergence)
        with FakeTensorMode():
            p, q = (torch.empty(2, 3, 4, dtype=torch.float16, requires_grad=True) for _ in range(2))
            weights = torch.empty(3)
            values = [function(p, q), function(p, q, weights=weights)]
            grads = gradients(values[1], [p, q])
        values.append(function(p, q, weights=weights))  # the mode is not needed
        for value in values:
            assert isinstance(value, FakeTensor)
            assert (value.shape, value.dtype, value.device.type) == (shape, torch.float64, "cpu")
        assert all(isinstance(g, FakeTensor) and g.shape == p.shape and g.dtype == p.dtype for g in grads)


# The operators by themselves


@compiles
@pytest.mark.parametrize(("divergence", "requires_grad"), [(KL, True), (HELLINGER, False), (renyi(0.5), True)], ids=str)
def test_the_operators_of_rows_pass_the_checks_of_torch(divergence: Divergence, requires_grad: bool) -> None:
    p, q = (x.requires_grad_(requires_grad) for x in LOGITS.rows())
    key, ones = key_of(divergence), torch.ones(3, dtype=torch.float64)
    values, log_masses = (x.detach() for x in OPERATORS.ROW_DIVERGENCE_AND_MASSES(p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCE, (p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCE_AND_MASSES, (p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_GRADIENTS, (ones, values, p, q, log_masses, 3, 0.7, key, 3))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCES, (p, q, 3, 0.7, 2, f"{key} entropy"))


def key_of(divergence: Divergence) -> str:
    """The name under which the operators know it."""
    name = divergence.function.__name__
    return ":".join([name, *(f"{k}={float(v)}" for k, v in divergence.parameter.items())])


@compiles
@pytest.mark.parametrize("requires_grad", [False, True], ids=["", "with gradients"])
def test_the_operator_of_exact_sums_passes_the_checks_of_torch(requires_grad: bool) -> None:
    values = torch.tensor([1.0, 1e-30, 3.0], dtype=torch.float64, requires_grad=requires_grad)
    torch.library.opcheck(torch.ops.torchdivergence.exact_sum.default, (values,))
