"""Every metric gives the bits of its function."""

import torch

from tests.support.cases import each
from tests.support.definitions import near
from tests.support.divergences import DIVERGENCES, Divergence, every_divergence
from tests.support.helpers import assert_same_bits
from torchdivergence import functional, metrics

LOGITS = near((7, 5, 9), 2.0, 1.0)


def test_the_tests_cover_all_divergences_of_the_package() -> None:
    assert {d.name for d in DIVERGENCES} == set(metrics.__all__)
    assert {d.function.__name__ for d in DIVERGENCES} == set(functional.__all__)


@every_divergence
@each("reduction", ["mean", "batchmean", "sum", "none"])
@each("weighted", [False, True])
def test_a_metric_gives_the_bits_of_its_function(divergence: Divergence, reduction: str, weighted: bool) -> None:
    p, q = LOGITS
    weights = torch.rand(7, 5) * (torch.arange(35).view(7, 5) % 4) if weighted else None
    base = {"base": 2} if weighted and divergence.has_log_unit else {}
    metric = divergence.make(log_prob=True, reduction=reduction, **base)
    for batch in (slice(0, 3), slice(3, 3), slice(3, 7)):
        metric.update(p[batch], q[batch], None if weights is None else weights[batch])
    value = divergence.function(p, q, True, reduction, weights=weights, **divergence.parameter, **base)
    assert_same_bits(metric.compute(), value.flatten() if reduction == "none" else value)
