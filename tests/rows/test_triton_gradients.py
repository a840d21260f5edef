"""The Triton kernels for gradients, against autograd in float64 and the reference, with a GPU's arithmetic emulated."""

from collections.abc import Sequence
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.backends import reference, specs, use_backend
from tests.support.definitions import near
from tests.support.devices import DEVICES
from tests.support.divergences import (
    CROSS_ENTROPY,
    DIVERGENCES,
    ENTROPY,
    HELLINGER,
    JEFFREYS,
    KL,
    TOTAL_VARIATION,
    Divergence,
    alpha,
    jensen_shannon,
    renyi,
)
from tests.support.strategies import FINFO_MIN
from tests.support.textbook import textbook_rows
from torchdivergence import _backends
from torchdivergence._rows import operators

triton = pytest.importorskip("torchdivergence._rows.triton")

# The interpreter of Triton before 3.6
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"),
    pytest.mark.usefixtures("arithmetic_of_the_device"),
]

DEVICE = DEVICES[-1]
SHORT, LONG = 41, 1100
"""Numbers of classes for each of the kernels; the second one makes two tiles."""
LOGITS, PROBABILITIES = (True, True), (False, False)
KINDS = [KL, JEFFREYS, jensen_shannon(0.1), TOTAL_VARIATION, HELLINGER, renyi(2), ENTROPY]
"""A divergence for each kind of formula."""
DISTINCT = [x for x in DIVERGENCES if x.parameter.get("alpha") not in (0.0, 1.0)]
"""All divergences, each once."""
ERROR = 2e-6
"""Of a gradient, relative to the largest one of its row, if that is at least 1e-9."""
Grads = list[Tensor]


def log_masses(p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = LOGITS, temperature: float = 1.0) -> Tensor:
    """What the kernels of the forward pass say of the normalizers."""
    terms = tuple(term for key in specs.LOG_MASSES for term in specs.by_key(key).terms)
    found: Tensor = triton.term_sums(p.to(DEVICE), q.to(DEVICE), log_prob, temperature, terms)
    return found


def by_kernel(
    divergences: Sequence[Divergence],
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool] = LOGITS,
    temperature: float = 1.0,
    grad_output: Tensor | None = None,
) -> list[Grads]:
    """The gradients in p and q of the sum of the values, for each divergence."""
    masses = log_masses(p, q, log_prob, temperature)
    found = []
    for divergence in divergences:
        values = divergence.rows(p, q, log_prob, temperature=temperature)
        call = p.to(DEVICE), q.to(DEVICE), log_prob, temperature, divergence.numerics, values.to(DEVICE), masses
        outer = (torch.ones_like(values) if grad_output is None else grad_output).to(DEVICE)
        found.append([grad.cpu() for grad in triton.gradients(*call, outer, (True, True))])
    return found


def by_autograd(
    divergence: Divergence, p: Tensor, q: Tensor, log_prob: tuple[bool, bool] = LOGITS, temperature: float = 1.0
) -> Grads:
    p, q = (x.double().requires_grad_() for x in (p, q))
    values = textbook_rows(divergence, p, q, log_prob, temperature)
    grads = torch.autograd.grad(values.sum(), (p, q), allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip((p, q), grads, strict=True)]


def by_reference(
    divergence: Divergence, p: Tensor, q: Tensor, log_prob: tuple[bool, bool], grad_output: Tensor
) -> Sequence[Tensor]:
    values, none = divergence.rows(p, q, log_prob), torch.empty(0)
    call = p, q, log_prob, 1.0, divergence.numerics, values, none, grad_output, (True, True)
    return [grad for grad in reference.gradients(*call) if grad is not None]


def assert_accurate(
    divergences: Sequence[Divergence],
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool] = LOGITS,
    temperature: float = 1.0,
) -> None:
    for divergence, grads in zip(divergences, by_kernel(divergences, p, q, log_prob, temperature), strict=True):
        # near the largest entropy, its gradient is a small difference of two numbers of this size
        floor = (
            0.5 * divergence.rows(p, q, log_prob, temperature=temperature) / p.shape[-1]
            if divergence in (ENTROPY, CROSS_ENTROPY)
            else 0
        )
        for grad, truth in zip(grads, by_autograd(divergence, p, q, log_prob, temperature), strict=True):
            errors = (grad - truth).abs().amax(-1) * temperature
            allowed = ERROR * (truth.abs().amax(-1) * temperature + floor).clamp(min=1e-9)
            assert (errors <= allowed).all(), f"{divergence}: {(errors / allowed).max()} of what is allowed"


def rows(classes: int, count: int = 1, noises: Sequence[float] = (1e-3, 0.1, 1.0)) -> tuple[Tensor, Tensor]:
    """Rows of which p and q differ by little up to much, and by a shift."""
    pairs = [near((count, classes), 3.0, noise, seed=seed) for seed, noise in enumerate(noises)]
    p, q = (torch.cat(x) for x in zip(*pairs, strict=True))
    return p, q + 9


@pytest.mark.parametrize(("classes", "divergences"), [(2, KINDS[:5]), (SHORT, DISTINCT)])
def test_gradients_of_few_classes_are_accurate(classes: int, divergences: list[Divergence]) -> None:
    assert_accurate(divergences, *rows(classes, 5))


def test_gradients_of_many_classes_are_accurate() -> None:
    assert_accurate([KL, jensen_shannon(0.1), TOTAL_VARIATION, renyi(2)], *rows(LONG, 1, (0.1,)))


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_the_gradient_of_a_heavy_class_keeps_its_digits(classes: int) -> None:
    p, q = rows(classes, 1, (0.5,))
    p[0, 7], q[0, 7], q[0, 9] = 25.0, 22.0, 36.0  # p is all but one, and the gradient there is tiny
    assert_accurate([KL, HELLINGER, ENTROPY][: 3 if classes == SHORT else 1], p, q)


@pytest.mark.parametrize(
    ("classes", "log_prob"),
    [(SHORT, PROBABILITIES), (SHORT, (False, True)), (SHORT, (True, False)), (LONG, PROBABILITIES)],
)
def test_gradients_in_probabilities_are_accurate(classes: int, log_prob: tuple[bool, bool]) -> None:
    pairs = rows(classes, 1, (0.1, 1.0)[: 2 if classes == SHORT else 1])
    p, q = (x if is_log else x.softmax(-1) * 5 for x, is_log in zip(pairs, log_prob, strict=True))
    assert_accurate(KINDS if (classes, log_prob) == (SHORT, PROBABILITIES) else KINDS[:1], p, q, log_prob)


@pytest.mark.parametrize("temperature", [1e-4, 0.7, 1e4])
def test_gradients_respect_the_temperature(temperature: float) -> None:
    p, q = rows(SHORT)
    assert_accurate(KINDS[2:4], p * temperature, q * temperature, temperature=temperature)


@pytest.mark.parametrize(("dtype", "classes"), [(torch.bfloat16, SHORT), (torch.float16, SHORT), (torch.float16, LONG)])
def test_narrow_gradients_are_the_rounded_ones_of_float32(dtype: torch.dtype, classes: int) -> None:
    p, q = (x.to(dtype) for x in rows(classes, 1, (1.0,)))
    [wide], [narrow] = by_kernel([KL], p.float(), q.float()), by_kernel([KL], p, q)
    for x, y in zip(wide, narrow, strict=True):
        ulp = 0 if dtype == torch.float16 or DEVICE == "cuda" else 2**-7  # the interpreter cuts digits off in bfloat16
        assert y.dtype == dtype
        torch.testing.assert_close(y, x.to(dtype), rtol=ulp, atol=0)


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_a_gradient_has_the_same_bits_in_any_batch_and_layout(classes: int) -> None:
    p, q = rows(classes, 1, (1.0,))
    layouts = {
        "unaligned": [torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x) for x in (p, q)],
        "classes first": [x.T.contiguous().T for x in (p, q)],
    }
    if classes == SHORT:
        layouts["in a batch"] = [torch.cat([x.flip(-1), x]) for x in (p, q)]
        layouts["five dimensions"] = [x.expand(2, 3, 2, 2, classes).transpose(0, 3) for x in (p, q)]
    divergences = [KL, jensen_shannon(0.5)][: 2 if classes == SHORT else 1]
    alone = by_kernel(divergences, p, q)
    for name, pair in layouts.items():
        for found, expected in zip(by_kernel(divergences, pair[0], pair[1]), alone, strict=True):
            for grad, x in zip(found, expected, strict=True):
                assert torch.equal(grad.reshape(-1, classes)[-1], x[0]), name


EDGES = {
    "masked in both": ([0.0, -inf, 1.0], [0.0, -inf, 3.0]),
    "masked in p": ([0.0, -inf], [0.0, 0.0]),
    "masked in q": ([0.0, 0.0], [0.0, -inf]),
    "disjoint": ([0.0, -inf], [-inf, 0.0]),
    "a gap": ([0.0, -1000.0], [-1000.0, 0.0]),
    "a finite mask in p": ([0.0, FINFO_MIN], [0.0, 0.0]),
    "a finite mask in both": ([0.0, FINFO_MIN], [1.0, FINFO_MIN]),
    "finite masks alone": ([FINFO_MIN, FINFO_MIN], [0.0, 1.0]),
    "huge": ([3e38, 3e38], [1e7, 1e7 + 1]),
    "NaN, not counted": ([nan, 0.0], [0.0, 0.0]),
}


@pytest.mark.parametrize("apart", [0, LONG])
def test_special_rows_have_the_gradients_of_the_reference(apart: int) -> None:
    cases = list(EDGES.values())[3::5] if apart else list(EDGES.values())  # long rows take long to interpret
    sides = zip(*cases, strict=True)
    p, q = (torch.tensor([[*row[:-1], *[-inf] * (apart + 3 - len(row)), row[-1]] for row in side]) for side in sides)
    weights = (~p.isnan().any(-1)).double()
    divergences = [KL] if apart else [*KINDS, alpha(0.3), alpha(-0.5)]
    for divergence, found in zip(divergences, by_kernel(divergences, p, q, grad_output=weights), strict=True):
        truth = by_reference(divergence, p, q, LOGITS, weights)
        torch.testing.assert_close(found, truth, rtol=ERROR, atol=1e-6, msg=str(divergence))


def test_zero_probabilities_have_the_gradients_of_the_reference() -> None:
    p = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
    q = torch.tensor([[0.5, 0.2, 0.3], [0.0, 0.5, 0.5], [0.4, 0.3, 0.3]])
    divergences = [x for x in DISTINCT if triton.has_gradients(x.numerics, PROBABILITIES)]
    for divergence, found in zip(divergences, by_kernel(divergences, p, q, PROBABILITIES), strict=True):
        truth = by_reference(divergence, p, q, PROBABILITIES, torch.ones(3))
        rounded = 120 * 2.0**-24  # log(p / q) is 60 or -60 there, and exp of twice that is as far off
        torch.testing.assert_close(found, truth, rtol=rounded, atol=1e-6, msg=str(divergence))


def test_invalid_rows_have_nan_one_class_has_zero_and_no_rows_have_no_gradients() -> None:
    p, q = torch.tensor([[nan, 0.0], [0.0, 0.0], [-inf, -inf]]), torch.tensor([[0.0, 0.0], [inf, 0.0], [0.0, 0.0]])
    assert all(grad.isnan().all() for grads in by_kernel([KL, TOTAL_VARIATION], p, q) for grad in grads)
    alone = by_kernel(DIVERGENCES[:2], torch.tensor([[3.0]]), torch.tensor([[5.0]]))
    assert not any(grad.any() for grads in alone for grad in grads)
    assert all(x.shape == (0, 3) for x in by_kernel([KL], torch.rand(0, 3), torch.rand(0, 3))[0])


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float16, 1e9), (torch.float32, 1e45)])
def test_a_gradient_beyond_the_range_of_its_dtype_is_the_largest_number(dtype: torch.dtype, factor: float) -> None:
    p, q = torch.tensor([[0.0, 0.0]], dtype=dtype), torch.tensor([[0.0, -30.0]], dtype=dtype)
    [grads] = by_kernel([KL], p, q, grad_output=torch.tensor([factor], dtype=torch.float64))
    assert all(x.isfinite().all() and x.abs().max() == torch.finfo(dtype).max for x in grads)


def test_a_backward_pass_takes_the_kernels_and_falls_back_or_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(  # the backend takes tensors on the CPU
        supports=lambda *call: call[-1].name in triton.TERMS,
        supports_gradients=lambda *call: triton.has_gradients(call[-1], call[2]),
        term_sums=triton.term_sums,
        gradients=triton.gradients,
    )
    p, q = (x.to(DEVICE).requires_grad_() for x in rows(3, 1, (1.0,)))
    monkeypatch.setattr(operators, "_candidates", lambda _: (here, reference))
    monkeypatch.setattr(operators, "_reads_masses", lambda _: True)
    found = torch.autograd.grad(KL.rows(p, q, LOGITS).sum(), (p, q))
    assert all(map(torch.equal, found, (x.to(DEVICE) for x in by_kernel([KL], p.detach().cpu(), q.detach().cpu())[0])))
    [only_q] = torch.autograd.grad(KL.rows(p.detach(), q, LOGITS).sum(), (q,))
    assert torch.equal(only_q, found[1])
    value = renyi(50).rows(p, q, LOGITS).sum()
    [grad_p] = torch.autograd.grad(value, (p,), retain_graph=True)
    torch.testing.assert_close(grad_p.double().cpu(), by_autograd(renyi(50), p.cpu(), q.cpu())[0], rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(operators, "_candidates", lambda _: (here,))
    with pytest.raises(NotImplementedError, match=r"does not support gradients of renyi_divergence:alpha=50\.0"):
        torch.autograd.grad(value, (p,))


def test_the_backend_that_was_chosen_for_the_values_computes_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    candidates = operators._candidates

    def noted(p: Tensor) -> Any:
        chosen.append(_backends.selected())
        return candidates(p)

    monkeypatch.setattr(operators, "_candidates", noted)
    p = torch.randn(2, 3, device=DEVICE, requires_grad=True)
    with use_backend("reference"):
        value = KL.rows(p, p.detach() + 1, LOGITS).sum()
    value.backward()
    assert chosen == ["reference", "reference"]
