"""The Triton kernels of states write the same integers as the code in torch. Without a GPU they are interpreted."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.states.test_parts import PARTS, batch, state_of
from tests.support.backends import use_backend
from tests.support.helpers import assert_same_bits
from torchdivergence._states import kernels
from torchdivergence._states.moments import cluster_sums
from torchdivergence._states.part import DIVERGENCE, Part, RowBatch
from torchdivergence._states.row_totals import RowTotals

on_gpu = pytest.importorskip("torchdivergence._states.triton")

# The interpreter of Triton before 3.6
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROGRAM = 1024
"""Rows of a program."""
AWKWARD = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    2.0**-1022,
    1e-300,
    1e-167,
    1.0,
    3.0,
    2.0**1023,
    1.7976931348623157e308,
    inf,
    nan,
]
SIGNED = torch.tensor([sign * x for x in AWKWARD for sign in (1.0, -1.0)], dtype=torch.float64)


@contextmanager
def gpu_kernels() -> Iterator[None]:
    """The Triton kernels write the states."""
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        if DEVICE == "cpu":
            patch.setattr(kernels, "_extension", None)
            patch.setattr(kernels, "_on_gpu", lambda *_: True)
        yield


def moved(rows: RowBatch) -> RowBatch:
    columns = {name: x.to(DEVICE) for name, x in rows.columns.items()}
    others = (x if x is None else x.to(DEVICE) for x in (rows.weights, rows.keys, rows.target))
    weights, keys, target = others
    return RowBatch(columns, weights, rows.items, keys, target)


def assert_same_integers(part: Part[Any], *batches: RowBatch) -> None:
    with use_backend("reference"):
        expected = state_of(part, *batches)
    state = part.empty().to(DEVICE)
    with gpu_kernels():
        for rows in batches:
            part.accumulate_(state, moved(RowBatch(rows.columns, rows.weights, rows.items, rows.keys, rows.target)))
    different = (state.cpu() != expected).nonzero().flatten().tolist()
    assert not different, (different[:9], state.cpu()[different[:9]], expected[different[:9]])


@pytest.mark.parametrize("weighted", [True, False])
def test_the_kernels_write_the_same_integers(weighted: bool) -> None:
    for name in ("moments", "histogram", "contingency table", "invalid", "totals", "profile"):
        assert_same_integers(PARTS[name], batch(1, weighted, (2, 4)))


@pytest.mark.parametrize("shape", [(), (3, 1), (2, 3, 4), (0, 4), (3, 0)], ids=str)
def test_the_kernels_write_the_same_integers_for_any_shape(shape: tuple[int, ...]) -> None:
    for name in ("totals", "moments without signs", "signed histogram", "invalid"):
        assert_same_integers(PARTS[name], batch(0, shape=shape))


def test_a_batch_of_several_programs_has_the_same_integers() -> None:
    rows = batch(0, shape=(PROGRAM // 2 - 7, 3))
    for name in ("totals", "histogram", "contingency table", "invalid"):
        assert_same_integers(PARTS[name], rows)


def test_awkward_numbers_times_awkward_weights_have_the_same_integers() -> None:
    weights = torch.tensor([0.0, -0.0, 5e-324, 2.0**-1022, 1e-300, 0.3, 1.0, 1e300], dtype=torch.float64)
    signed, weights = (x.reshape(1, -1) for x in torch.cartesian_prod(SIGNED, weights).unbind(1))
    columns = {DIVERGENCE: signed.abs(), "other": signed, "root": signed.abs()}
    rows = RowBatch(columns, weights, 1)
    for name in ("totals", "moments", "histogram", "signed histogram", "contingency table", "invalid"):
        assert_same_integers(PARTS[name], rows)


def test_weights_that_are_nan_make_rows_invalid() -> None:
    values = torch.tensor([1.0, nan, nan, 2.0], dtype=torch.float64)
    weights = torch.tensor([nan, 0.0, 1.0, 0.5], dtype=torch.float64)
    rows = RowBatch({DIVERGENCE: values}, weights, 4)
    assert_same_integers(RowTotals(), rows)
    with gpu_kernels():
        found = moved(RowBatch({DIVERGENCE: values}, weights, 4)).valid_weights
    assert_same_bits(found.cpu(), rows.valid_weights)
    assert_same_integers(PARTS["invalid"], rows)


@pytest.mark.parametrize("length", [1, 65, 300])
def test_cluster_sums_have_the_bits_of_the_code_in_torch_wherever_rows_are_left_out(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    weights = torch.rand(6, length, generator=generator, dtype=torch.float64)
    weights[1:] *= torch.rand(5, length, generator=generator) < torch.tensor([[0.9], [0.5], [0.1], [0.0], [1.0]])
    columns = torch.randn(2, 6, length, generator=generator, dtype=torch.float64)
    expected = cluster_sums(columns, weights)
    with gpu_kernels():
        found = cluster_sums(columns.to(DEVICE), weights.to(DEVICE))
    for x, y in zip(found, expected, strict=True):
        assert_same_bits(x.cpu() + 0.0, y + 0.0)


def test_numbers_that_differ_by_more_than_a_window_of_limbs_have_the_same_integers() -> None:
    values = 2.0 ** torch.arange(-1074, 1024, dtype=torch.float64)
    assert_same_integers(RowTotals(), RowBatch({DIVERGENCE: values}, None, len(values)))


def test_a_state_adds_up_over_many_batches() -> None:
    state: Tensor = RowTotals().empty().to(DEVICE)
    with gpu_kernels():
        for k in range(1, 5):
            values = torch.full((k,), 0.1, dtype=torch.float64, device=DEVICE)
            RowTotals().accumulate_(state, RowBatch({DIVERGENCE: values}, None, k))
    assert RowTotals().read(state)[:3] == (1.0, 10.0, 10)
