"""Other libraries agree, where they are right."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from torch import Tensor
from torchmetrics.regression import JensenShannonDivergence

from tests.support.divergences import jensen_shannon
from torchdivergence import functional as F  # noqa: N812


def dirichlet(*zeros: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7), 20), rng.dirichlet(np.ones(7), 20)
    p[:, zeros] = 0
    return p / p.sum(-1, keepdims=True), q


def distances(p: np.ndarray, q: np.ndarray, metric: str) -> np.ndarray:
    return scipy.spatial.distance.cdist(p, q, metric).diagonal().copy()


BY_SCIPY: dict[str, tuple[Callable[..., Tensor], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
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


@pytest.mark.parametrize("name", BY_SCIPY)
def test_scipy_agrees(name: str) -> None:
    p, q = dirichlet(2)
    ours, theirs = BY_SCIPY[name]
    value = ours(torch.from_numpy(p), torch.from_numpy(q), False, "none")
    torch.testing.assert_close(value, torch.from_numpy(theirs(p, q)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torchmetrics_agrees_on_jensen_shannon(reduction: str) -> None:
    p, q = (torch.from_numpy(x) for x in dirichlet())
    theirs = JensenShannonDivergence(reduction=reduction)
    theirs.set_dtype(torch.float64)
    ours = jensen_shannon(0.5).metric(reduction=reduction)
    for metric in (theirs, ours):
        metric.update(p[:5], q[:5])
        metric.update(p[5:], q[5:])
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_loss_agrees(reduction: str) -> None:
    x = torch.randn(8, 300, dtype=torch.float64)
    target = torch.randn(8, 300, dtype=torch.float64).softmax(-1)
    expected = torch.nn.CrossEntropyLoss(reduction=reduction)(x, target)
    value = F.cross_entropy(target, x, (False, True), reduction)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
