"""Rows are batch-invariant: bitwise the same in any batch, in any memory layout and on any number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest
import torch

from tests.support.divergences import DIVERGENCES, KL, Divergence
from torchdivergence.functional import kl_divergence


@contextmanager
def number_of_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("divergence", "classes", "threads"),
    [
        *product([KL], [1, 2, 7, 10, 1000, 33_000, 70_000], [1, 2, 3]),
        *product([d for d in DIVERGENCES if d != KL], [10, 1000], [2]),
    ],
    ids=str,
)
def test_a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads(
    divergence: Divergence, classes: int, threads: int
) -> None:
    p, q = torch.randn(2, 7, classes).unbind()
    together = divergence.rows(p, q)
    with number_of_threads(threads):
        alone = torch.stack([divergence.rows(x, y) for x, y in zip(p, q, strict=True)])
        repeated = divergence.rows(p.repeat(9, 1), q.repeat(9, 1))
    assert torch.equal(alone, together)
    assert torch.equal(repeated, together.repeat(9))


@pytest.mark.parametrize("shape", [(6, 5, 4, 50), (3, 2, 40, 1000), (2, 3, 2, 40_000)])
def test_the_memory_layout_does_not_change_a_row(shape: tuple[int, ...]) -> None:
    p, q = torch.randn(2, *shape).unbind()
    expected = kl_divergence(p, q, True, "none")
    for order in [(0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)]:
        back = torch.tensor(order).argsort().tolist()
        p_, q_ = (x.permute(order).contiguous().permute(back) for x in (p, q))
        assert torch.equal(kl_divergence(p_, q_, True, "none"), expected)
    every_other = torch.stack([p, p], -1).flatten(-2)[..., ::2]
    assert torch.equal(kl_divergence(every_other, q, True, "none"), expected)


def test_expanded_rows_have_the_bits_of_repeated_ones() -> None:
    p, q = torch.randn(1, 30), torch.randn(7, 30)
    assert torch.equal(kl_divergence(p.expand_as(q), q, True, "none"), kl_divergence(p.repeat(7, 1), q, True, "none"))
