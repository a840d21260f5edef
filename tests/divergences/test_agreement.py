"""Agreement with scipy, torch and torchmetrics, on rows for which they are accurate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.spatial
import scipy.stats
import torch
from torch import Tensor
from torchmetrics.regression import JensenShannonDivergence

from tests.support.divergences import jensen_shannon
from torchdivergence import functional as F  # noqa: N812

Floats = npt.NDArray[Any]


def dirichlet(*zeros: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7), 20), rng.dirichlet(np.ones(7), 20)
    p[:, zeros] = 0
    return p / p.sum(-1, keepdims=True), q


def distances(p: Floats, q: Floats, metric: str) -> Floats:
    return scipy.spatial.distance.cdist(p, q, metric).diagonal().copy()


SCIPY: dict[str, tuple[Callable[..., Tensor], Callable[[Floats, Floats], Floats]]] = {
    "jensenshannon": (
        F.jensen_shannon_divergence,
        lambda p, q: scipy.spatial.distance.jensenshannon(p, q, axis=-1) ** 2,
    ),
    "entropy": (F.entropy, lambda p, q: scipy.stats.entropy(p, axis=-1)),  # noqa: ARG005
    "relative entropy": (F.kl_divergence, lambda p, q: scipy.stats.entropy(p, q, axis=-1)),
    "chisquare": (F.chi_squared_divergence, lambda p, q: scipy.stats.chisquare(p, q, axis=-1).statistic),
    "cityblock": (F.total_variation_distance, lambda p, q: distances(p, q, "cityblock") / 2),
    "euclidean": (F.hellinger_distance, lambda p, q: distances(p**0.5, q**0.5, "euclidean") / 2**0.5),
}


@pytest.mark.parametrize("name", SCIPY)
def test_values_agree_with_scipy(name: str) -> None:
    p, q = dirichlet(2)
    function, scipy_function = SCIPY[name]
    value = function(torch.from_numpy(p), torch.from_numpy(q), False, "none")
    torch.testing.assert_close(value, torch.from_numpy(scipy_function(p, q)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_jensen_shannon_divergence_agrees_with_torchmetrics(reduction: Any) -> None:
    p, q = (torch.from_numpy(x) for x in dirichlet())
    theirs = JensenShannonDivergence(reduction=reduction)
    theirs.set_dtype(torch.float64)
    ours = jensen_shannon(0.5).metric(reduction=reduction)
    for metric in (theirs, ours):
        metric.update(p[:5], q[:5])
        metric.update(p[5:], q[5:])
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_agrees_with_torch(reduction: Any) -> None:
    x = torch.randn(8, 300, dtype=torch.float64)
    target = torch.randn(8, 300, dtype=torch.float64).softmax(-1)
    expected = torch.nn.CrossEntropyLoss(reduction=reduction)(x, target)
    value = F.cross_entropy(target, x, (False, True), reduction)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def logits(*shape: int) -> tuple[Tensor, Tensor]:
    p, q = torch.randn(2, *shape, dtype=torch.float64).unbind()
    return p, q


def kl_div(p: Tensor, q: Tensor) -> Tensor:
    """The rows by torch, from logits."""
    rows = torch.nn.functional.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none")
    return rows.sum(-1)


def test_kl_divergence_agrees_with_torch() -> None:
    p, q = logits(30, 50)
    torch.testing.assert_close(F.kl_divergence(p, q, True, "none"), kl_div(p, q))


def test_batchmean_agrees_with_kl_div_loss() -> None:
    p, q = logits(4, 6, 9)
    loss = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(q.log_softmax(-1), p.log_softmax(-1))
    torch.testing.assert_close(F.kl_divergence(p, q, True, "batchmean"), loss, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_kl_divergence_agree_with_torch(dtype: torch.dtype) -> None:
    narrow = [x.to(dtype).requires_grad_() for x in logits(8, 300)]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    found = torch.autograd.grad(F.kl_divergence(narrow[0], narrow[1], True), narrow)
    expected = torch.autograd.grad(kl_div(wide[0], wide[1]).mean(), wide)
    torch.testing.assert_close(found, tuple(x.to(dtype) for x in expected))
