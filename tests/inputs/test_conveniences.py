"""Several class dimensions, entropy without q, names of other libraries, and the hints of error texts."""

from typing import Any

import pytest
import torch

from tests.support.divergences import Divergence, every_divergence
from torchdivergence import DivergenceCollection, DivergenceStatistics, Entropy, KLDivergence
from torchdivergence.functional import entropy, jensen_shannon_divergence, kl_divergence

P, Q = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0)).unbind()


@every_divergence
@pytest.mark.parametrize("dims", [(-2, -1), (1, 2), (2, 1), [1, 2]])
def test_several_class_dimensions_are_one_distribution(divergence: Divergence, dims: Any) -> None:
    first, second = dims
    p, q = (x.movedim((first, second), (-2, -1)).flatten(1) for x in (P, Q))
    assert torch.equal(divergence.rows(P, Q, dim=dims), divergence.rows(p, q))
    metric = divergence.make(log_prob=True, dim=dims)
    metric.update(P, Q)
    assert metric.compute() == divergence.function(p, q, True, **divergence.parameter)


@pytest.mark.parametrize("dims", [(0, 0), (), (0, 3), (-4, 0)])
def test_wrong_class_dimensions_are_refused(dims: Any) -> None:
    with pytest.raises(IndexError, match="dim="):
        kl_divergence(P, Q, log_prob=True, dim=dims)


def test_entropy_needs_no_q() -> None:
    torch.testing.assert_close(entropy(P, log_prob=True), entropy(P, Q, log_prob=True), rtol=1e-14, atol=0)
    metric, other = Entropy(log_prob=True), Entropy(log_prob=True)
    weights = torch.rand(4, 3)
    metric.update(P)
    metric(P, weights=weights)
    other.update(P, Q)
    other(P, Q, weights)
    torch.testing.assert_close(metric.compute(), other.compute(), rtol=1e-14, atol=0)
    with pytest.raises(TypeError, match="q must be a tensor, but got NoneType"):
        kl_divergence(P, None, log_prob=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mask", "use weights=mask"),
        ("log_target", "use log_prob"),
        ("preds", "p is the reference"),
        ("target", "p is the reference"),
        ("from_logits", "use log_prob=True"),
        ("axis", "use dim"),
    ],
)
def test_arguments_with_the_names_of_other_libraries_are_refused_with_the_name_here(name: str, text: str) -> None:
    given: dict[str, Any] = {name: P}
    with pytest.raises(TypeError, match=f"no argument '{name}': {text}"):
        kl_divergence(P, Q, **given)
    if name != "target":
        with pytest.raises(TypeError, match=f"no argument '{name}': {text}"):
            KLDivergence().update(P, Q, **given)
        with pytest.raises(TypeError, match=f"no argument '{name}': {text}"):
            KLDivergence(**given)


@pytest.mark.parametrize(
    ("p", "q", "weights", "text"),
    [
        (P, Q[..., :4], None, "padding classes"),
        (P, Q[:2], None, "They differ in dimension 0"),
        (P, Q[:, :2], None, "They differ in dimension 1"),
        (P, Q[0, 0], None, r"expand it: q\.expand_as\(p\)"),
        (P[0, 0], Q, None, r"expand it: p\.expand_as\(q\)"),
        (P, Q[0, 0].repeat(7), None, "Reshape one of them"),
        (P, Q, torch.ones(4, 3, 1), r"weights\.squeeze\(-1\)"),
        (P, Q, torch.ones(4), r"weights\[:, None\]"),
        (P, Q, torch.ones(4, 3, 5), "A weight belongs to a row"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_a_hint(p: Any, q: Any, weights: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        kl_divergence(p, q, log_prob=True, weights=weights)


def test_the_hints_work() -> None:
    assert kl_divergence(P, Q[0, 0].expand_as(P), True).isfinite()
    assert kl_divergence(P, Q, True, weights=torch.ones(4, 3, 1).squeeze(-1)) == kl_divergence(P, Q, True)
    assert kl_divergence(P, Q, True, weights=torch.ones(4)[:, None]) == kl_divergence(P, Q, True)


@pytest.mark.parametrize("beta", [0, 1])
def test_the_ends_of_beta_name_the_functions_to_use(beta: float) -> None:
    with pytest.raises(ValueError, match="use kl_divergence or reverse_kl_divergence"):
        jensen_shannon_divergence(P, Q, True, beta=beta)


@pytest.mark.parametrize("name", ["beta", "base"])
def test_parameters_that_need_a_gradient_are_refused(name: str) -> None:
    given: dict[str, Any] = {name: torch.tensor(0.5, requires_grad=True)}
    with pytest.raises(TypeError, match=rf"{name} is a tensor that requires a gradient.*use {name}\.detach\(\)"):
        jensen_shannon_divergence(P, Q, True, **given)


def test_collections_and_statistics_refuse_what_they_cannot_hold() -> None:
    with pytest.raises(ValueError, match="at least one metric"):
        DivergenceCollection([])
    with pytest.raises(TypeError, match=r"such as KLDivergence\(\), but got the class KLDivergence"):
        DivergenceStatistics(KLDivergence)  # type: ignore[arg-type]
