"""Several threads may update metrics at the same time, each its own."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from tests.support.definitions import near
from tests.support.divergences import DIVERGENCES, Divergence
from tests.support.helpers import assert_all_same, assert_same_bits, concatenated, updated
from torchdivergence import DivergenceCollection, KLDivergence, TotalVariationDistance
from torchdivergence.functional import kl_divergence, total_variation_distance

THREADS = 4
BATCHES = [near((rows, 300), 2.0, 0.1, seed=rows) for rows in (1, 40, 7, 64)]


def test_threads_may_update_their_own_metrics_at_the_same_time() -> None:
    def value(divergence: Divergence) -> Tensor:
        return updated(divergence.make(log_prob=True), BATCHES).compute()

    with ThreadPoolExecutor(THREADS) as threads:
        values = list(threads.map(value, DIVERGENCES))
    for divergence, found in zip(DIVERGENCES, values, strict=True):
        assert_same_bits(found, divergence.function(*concatenated(BATCHES), True, **divergence.parameter))


def test_threads_may_update_their_own_collections_at_the_same_time() -> None:
    def values(times: int) -> dict[str, Tensor]:
        collection = DivergenceCollection([KLDivergence(True, "sum"), TotalVariationDistance(True, "sum")])
        return updated(collection, BATCHES * times).compute()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(values, range(1, 9)))
    for times, values_of_thread in enumerate(found, 1):
        p, q = (torch.cat([x] * times) for x in concatenated(BATCHES))
        expected = {
            "KLDivergence": kl_divergence(p, q, True, "sum"),
            "TotalVariationDistance": total_variation_distance(p, q, True, "sum"),
        }
        assert_all_same(values_of_thread, expected)
