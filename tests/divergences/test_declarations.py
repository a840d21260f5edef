"""A declaration is all that a divergence needs: the lists of documents and tests follow from it."""

import inspect
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import torchdivergence
from tests.support.definitions import near
from tests.support.divergences import all_divergences
from torchdivergence import DivergenceStatistics, functional, metrics
from torchdivergence._divergences import SPECS, Divergence, DivergenceSpec, Term
from torchdivergence._divergences.docs import api_pages, divergence_table
from torchdivergence._divergences.pair import NormalizedPair, nan_to_zero_
from torchdivergence._divergences.spec import declare
from torchdivergence._metrics.divergence_metric import DivergenceMetric


def test_every_declared_divergence_is_a_function_and_a_metric_and_nothing_else_is() -> None:
    assert sorted(SPECS) == sorted(functional.__all__)
    assert sorted(spec.metric for spec in SPECS.values()) == sorted(metrics.__all__)
    assert set(metrics.__all__) <= set(torchdivergence.__all__)
    for spec in SPECS.values():
        assert getattr(metrics, spec.metric).spec is spec
        assert getattr(functional, spec.function).__name__ == spec.function


def test_every_declared_divergence_is_in_the_lists_of_the_tests_and_of_the_benchmarks() -> None:
    from benchmarks import bits

    assert {x.function.__name__ for x in all_divergences()} == set(SPECS)
    assert {function.__name__ for function in bits.FUNCTIONS.values()} == set(SPECS)


def test_equal_rows_have_the_better_value() -> None:
    p, q = near((50, 10), 2.0, 1.0, torch.float64)
    compared = [spec for spec in SPECS.values() if spec.zero_iff_equal or spec.higher_is_better]
    assert {*SPECS} - {spec.function for spec in compared} == {"entropy", "cross_entropy"}
    for spec in compared:
        metric = getattr(metrics, spec.metric)
        parameter = {spec.parameter.name: spec.parameter.example} if spec.parameter else {}
        equal, different = (metric(log_prob=True, **parameter)(p, x) for x in (p, q))
        assert (equal > different) == metric.higher_is_better == spec.higher_is_better


def test_a_declaration_pickles_as_itself() -> None:
    for spec in SPECS.values():
        assert pickle.loads(pickle.dumps(spec)) is spec


def squared_difference_over_sum(pair: NormalizedPair) -> Tensor:
    return nan_to_zero_(pair.diff.square() / (pair.p + pair.q))


def log_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
    ratio = nan_to_zero_(pair.diff / (pair.p + pair.q))
    return pair.p * ratio * (2 - ratio), -pair.q * ratio * (2 + ratio)


@pytest.fixture
def toy() -> Iterator[DivergenceSpec]:
    """Triangular discrimination, declared for one test."""
    spec = DivergenceSpec(
        function="toy_divergence",
        metric="ToyDivergence",
        summary="Triangular discrimination.",
        formula=r"\sum_i \frac{(p_i - q_i)^2}{p_i + q_i}",
        source="L. Le Cam (1986)",
        example="0.0884",
        has_log_unit=False,
        numerics=Divergence(
            terms=(Term("triangular", squared_difference_over_sum),), log_grads=log_grads, upper_bound=2.0
        ),
    )
    yield declare(spec)
    del SPECS[spec.function]


def test_a_new_divergence_is_in_every_list(toy: DivergenceSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    function = functional.make_function(toy)

    class ToyDivergence(DivergenceMetric):
        spec = toy

    p, q = near((6, 40), 2.0, 1.0, torch.float64)
    a, b = p.softmax(-1), q.softmax(-1)
    expected = ((a - b) ** 2 / (a + b)).sum(-1)
    torch.testing.assert_close(function(p, q, True, "none"), expected, rtol=1e-12, atol=0)
    p.requires_grad_(), q.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: function(a, b, True, "none"), (p, q))

    metric = ToyDivergence(log_prob=True)
    metric.update(p, q)
    assert metric.compute() == function(p, q, True)
    statistics = DivergenceStatistics(ToyDivergence(log_prob=True))
    statistics.update(p, q)
    assert statistics.compute()["mean"] == metric.compute()

    assert toy.formula in (inspect.getdoc(ToyDivergence) or "")
    assert toy.formula in (inspect.getdoc(function) or "")
    assert "`ToyDivergence`" in divergence_table()
    assert ".. autoclass:: torchdivergence.ToyDivergence" in api_pages()["metrics"]
    assert ".. autofunction:: torchdivergence.functional.toy_divergence" in api_pages()["functions"]

    monkeypatch.setattr(functional, toy.function, function, raising=False)
    monkeypatch.setattr(torchdivergence, toy.metric, ToyDivergence, raising=False)
    monkeypatch.setattr("tests.support.definitions.toy", sum, raising=False)
    assert "ToyDivergence" in map(str, all_divergences())
