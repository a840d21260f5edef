"""Columns of rows with a target: all backends against the definition in high precision."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.backends import BACKENDS, specs, use_backend
from torchdivergence._layout import CORRECTNESS_COLUMNS, TARGET_COLUMNS
from torchdivergence._rows import row_divergences, tokens
from torchdivergence._rows.tokens import target_columns

# The interpreter of Triton before 3.6
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning")

TRITON = "the Triton kernel"
KEYS = (*specs.LOG_MASSES, *specs.TOP_CLASSES)
Sides = tuple[bool, bool]


every_backend = pytest.mark.parametrize("backend", [*BACKENDS, TRITON])


@contextmanager
def columns_by(backend: str) -> Iterator[None]:
    """The columns come from a backend. The Triton kernel is interpreted; what it needs of the rows is native."""
    if backend != TRITON:
        with use_backend(backend):
            yield
        return
    kernels = pytest.importorskip("torchdivergence._rows.triton")
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(tokens, "triton_for", lambda *_: kernels)
        yield


def columns(p: Tensor, q: Tensor, target: Tensor, log_prob: Sides, temperature: float = 1.0) -> dict[str, Tensor]:
    known = row_divergences(p, q, log_prob, temperature, KEYS)
    return target_columns((p, q), known[:2], known[2:], target, log_prob, temperature)


def log_probability(row: Tensor, target: int, is_log: bool, temperature: float) -> mpmath.mpf:
    weights = [mpmath.mpf(x) for x in row.double().tolist()]
    weights = [mpmath.exp(x / temperature) for x in weights] if is_log else weights
    return mpmath.log(weights[target] / mpmath.fsum(weights))


@every_backend
@pytest.mark.parametrize("noise", [1e-6, 1e-2, 3.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_and_probabilities_of_the_target_have_the_values_of_the_definition(
    backend: str, noise: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    p = 3 * torch.randn(4, 3, 20, generator=generator, dtype=torch.float64)
    q = p + noise * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 20, (4, 3), generator=generator)
    for log_prob, temperature in [((True, True), 2.5), *(((a, b), 1.0) for a in (True, False) for b in (True, False))]:
        sides = [x.to(dtype) if is_log else x.exp().to(dtype) for x, is_log in zip((p, q), log_prob, strict=True)]
        with columns_by(backend), mpmath.workdps(50):
            found = columns(sides[0], sides[1], target, log_prob, temperature)
            for i, j in product(range(4), range(3)):
                t = int(target[i, j])
                log_p, log_q = (
                    log_probability(x[i, j], t, is_log, temperature) for x, is_log in zip(sides, log_prob, strict=True)
                )
                delta = mpmath.exp(log_q) - mpmath.exp(log_p)
                expected = map(float, (-log_p, -log_q, log_p - log_q, delta, delta**2))
                for name, value in zip(TARGET_COLUMNS, expected, strict=True):
                    # a loss is accurate to a few roundings of a loss of size 10; so are differences, absolutely
                    assert math.isclose(float(found[name][i, j]), value, rel_tol=1e-14, abs_tol=1e-14), name
                shares = (mpmath.exp(-mpmath.mpf(float(found[name][i, j]))) for name in ("loss_p", "loss_q"))
                of_losses = float(-mpmath.fsub(*shares))  # given the losses, the difference keeps its digits
                assert math.isclose(float(found["delta_p"][i, j]), of_losses, rel_tol=2e-15)


@every_backend
def test_a_share_that_is_zero_and_a_target_outside_the_classes_have_special_values(backend: str) -> None:
    p = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.5, 0.5], [1.0, 3.0]])
    q = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
    with columns_by(backend):
        found = columns(p, q, torch.tensor([0, 0, 0, -100]), (False, False))
    expected = {
        "loss_p": [math.inf, math.inf, math.log(2), math.nan],
        "log_ratio": [-math.inf, math.nan, math.inf, math.nan],
        "delta_p": [0.5, 0.0, -0.5, math.nan],
        "both_correct": [0.0, 0.0, 0.0, 0.0],
        "worsened": [0.0, 0.0, 1.0, 0.0],
        "improved": [1.0, 0.0, 0.0, 0.0],
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], torch.tensor(values, dtype=torch.float64), equal_nan=True)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (2, 1, 3), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("backend", ["auto", TRITON])
def test_backends_agree_on_tied_classes_and_any_memory_layout(
    backend: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(0, 4, (2, *shape, 6), generator=generator).to(dtype)
    target = torch.randint(0, 5, shape, generator=generator)
    with use_backend("reference"):
        expected = columns(logits[0], logits[1], target, (True, True))
    wide = torch.cat([logits, logits], -1)[..., :6]
    spaced = logits.repeat_interleave(2, -1)[..., ::2]
    for p, q in (logits, (wide[0], logits[1]), (logits[0], spaced[1])):
        for given in (target, target.to(torch.int32), target.T.contiguous().T if target.dim() == 2 else target):
            with columns_by(backend):
                found = columns(p, q, given, (True, True))
            assert list(found) == [*TARGET_COLUMNS, *CORRECTNESS_COLUMNS]
            for name, values in found.items():
                torch.testing.assert_close(values, expected[name], rtol=1e-14, atol=1e-15)
    assert target.numel() < 6 or expected["accuracy_p"].any()


BARELY_LARGER = {
    "counts": (1e15, 1e15 + 1, torch.float64, False, 1.0),
    "integers": (2**53, 2**53 + 1, torch.int64, False, 1.0),
    "probabilities": (0.1, math.nextafter(0.1, 1), torch.float64, False, 1.0),
    "tiny probabilities": (1e-300, math.nextafter(1e-300, 1), torch.float64, False, 1.0),
    "logits": (1.0, math.nextafter(1.0, 2), torch.float64, True, 3.0),
}
"""Two elements whose logarithms, or quotients by the temperature, are one float64 number."""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", BARELY_LARGER)
def test_the_most_likely_class_has_the_largest_element(backend: str, case: str) -> None:
    small, large, dtype, is_log, temperature = BARELY_LARGER[case]
    p = torch.tensor([[[small, large, small], [large, small, large]]], dtype=dtype).transpose(0, 1)
    with use_backend(backend):
        for x in p, p.permute(2, 0, 1).contiguous().permute(1, 2, 0):
            tops = row_divergences(x, x.flip(-1), (is_log, is_log), temperature, specs.TOP_CLASSES)
            assert [top.flatten().tolist() for top in tops] == [[1, 0], [1, 0]]
