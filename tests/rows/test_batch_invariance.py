"""Rows are batch-invariant: bitwise the same in any batch, in any memory layout and on any number of threads."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.backends import ordered_sums, reference
from tests.support.devices import every_device
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


@every_device
@pytest.mark.parametrize(
    ("divergence", "classes", "threads"),
    [
        *product([KL], [1, 2, 7, 10, 1000, 33_000, 70_000], [1, 2, 3]),
        *product([d for d in DIVERGENCES if d != KL], [10, 1000], [2]),
    ],
    ids=str,
)
def test_a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads(
    divergence: Divergence, classes: int, threads: int, device: str
) -> None:
    p, q = torch.randn(2, 7, classes, device=device).unbind()
    together = divergence.rows(p, q)
    with number_of_threads(threads):
        alone = torch.stack([divergence.rows(x, y) for x, y in zip(p, q, strict=True)])
        repeated = divergence.rows(p.repeat(9, 1), q.repeat(9, 1))
    assert torch.equal(alone, together)
    assert torch.equal(repeated, together.repeat(9))


@every_device
@pytest.mark.parametrize("shape", [(6, 5, 4, 50), (3, 2, 40, 1000), (2, 3, 2, 40_000)])
def test_the_memory_layout_does_not_change_a_row(shape: tuple[int, ...], device: str) -> None:
    p, q = torch.randn(2, *shape, device=device).unbind()
    expected = kl_divergence(p, q, True, "none")
    for order in [(0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 2, 3)]:
        back = torch.tensor(order).argsort().tolist()
        p_, q_ = (x.permute(order).contiguous().permute(back) for x in (p, q))
        assert torch.equal(kl_divergence(p_, q_, True, "none"), expected)
    every_other = torch.stack([p, p], -1).flatten(-2)[..., ::2]
    assert torch.equal(kl_divergence(every_other, q, True, "none"), expected)


@every_device
def test_expanded_rows_have_the_bits_of_repeated_ones(device: str) -> None:
    p, q = torch.randn(1, 30, device=device), torch.randn(7, 30, device=device)
    assert torch.equal(kl_divergence(p.expand_as(q), q, True, "none"), kl_divergence(p.repeat(7, 1), q, True, "none"))


@every_device
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 1000, 4097])
def test_halving_sums_are_the_sums(classes: int, device: str) -> None:
    x = torch.randn(5, classes, dtype=torch.float64, device=device)
    expected = torch.tensor([math.fsum(row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(ordered_sums.halving_sums(x).cpu(), expected, rtol=0, atol=1e-12)


class _Operations(TorchDispatchMode):
    """Collects the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _reference_off_the_cpu(rows: int, classes: int) -> list[str]:
    p = torch.empty(rows, classes, device="meta")
    terms = tuple(dict.fromkeys(term for x in DIVERGENCES for term in x.numerics.terms))
    with _Operations() as operations:
        reference.term_sums(p, p, (True, True), 1.0, terms)
    return operations.names


def test_off_the_cpu_the_reference_leaves_no_sum_to_torch_whose_order_depends_on_the_batch() -> None:
    assert not {"sum", "mean", "logsumexp", "softmax", "_softmax", "_log_softmax"} & set(_reference_off_the_cpu(8, 50))


def test_off_the_cpu_the_number_of_operations_does_not_grow_with_the_rows() -> None:
    assert len(_reference_off_the_cpu(8, 1000)) == len(_reference_off_the_cpu(8192, 1000))
