"""The function: reductions, weights, units, and gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from torchdivergence import KLDivergence
from torchdivergence.functional import kl_divergence

REDUCTIONS = ["mean", "batchmean", "sum"]
inf = math.inf


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    p, q = torch.randn(2, 4, 6, 9).unbind()
    return p, q


def test_reductions_reduce_the_rows(logits: tuple[Tensor, Tensor]) -> None:
    rows = kl_divergence(*logits, True, "none")
    total = math.fsum(rows.flatten().tolist())
    assert rows.shape == (4, 6)
    assert torch.equal(rows, kl_divergence(*logits, True, None))
    assert kl_divergence(*logits, True, "sum").item() == total
    assert kl_divergence(*logits, True).item() == total / 24
    assert kl_divergence(*logits, True, "batchmean").item() == total / 4


def test_batchmean_is_that_of_kl_div_loss(logits: tuple[Tensor, Tensor]) -> None:
    p, q = (x.double() for x in logits)
    loss = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    torch.testing.assert_close(
        kl_divergence(p, q, True, "batchmean"), loss(q.log_softmax(-1), p.log_softmax(-1)), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_metric_gives_the_same_bits(logits: tuple[Tensor, Tensor], reduction: str, weighted: bool) -> None:
    weights = torch.rand(4, 6) if weighted else None
    metric = KLDivergence(True, reduction, base=2)
    for i in range(4):
        metric.update(logits[0][i : i + 1], logits[1][i : i + 1], None if weights is None else weights[i : i + 1])
    value = kl_divergence(*logits, True, reduction, base=2, weights=weights)
    assert torch.equal(metric.compute(), value.flatten() if reduction == "none" else value)


@pytest.mark.parametrize("weights", [torch.rand(4, 6), torch.rand(6), torch.rand(4, 1), torch.rand(4, 6) < 0.5])
def test_weights_weigh_rows(logits: tuple[Tensor, Tensor], weights: Tensor) -> None:
    rows, w = kl_divergence(*logits, True, "none"), weights.double().expand(4, 6)
    torch.testing.assert_close(kl_divergence(*logits, True, weights=weights), (rows * w).sum() / w.sum())
    torch.testing.assert_close(kl_divergence(*logits, True, "batchmean", weights=weights), (rows * w).sum() / 4)
    torch.testing.assert_close(kl_divergence(*logits, True, "none", weights=weights), rows * w)


@pytest.mark.parametrize("weights", [torch.tensor([2, 0, 1]), torch.tensor([True, False, True])])
def test_a_row_of_weight_zero_may_hold_anything(weights: Tensor) -> None:
    p, q = torch.rand(2, 3, 4).unbind()
    expected = kl_divergence(p[::2], q[::2], weights=weights[::2])
    p[1] = math.nan
    assert torch.equal(kl_divergence(p, q, weights=weights), expected)
    assert kl_divergence(p, q, False, "none", weights=weights)[1] == 0


def test_the_class_dimension_may_be_any() -> None:
    p, q = torch.randn(2, 2, 5, 3, 4).unbind()
    rows = kl_divergence(p, q, True, "none", dim=1)
    assert rows.shape == (2, 3, 4)
    assert torch.equal(rows, kl_divergence(p.movedim(1, -1), q.movedim(1, -1), True, "none"))
    assert torch.equal(rows, kl_divergence(p, q, True, "none", dim=-3))


def test_one_row_needs_no_batch() -> None:
    value = kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]), reduction="batchmean")
    assert value.item() == pytest.approx(0.5 * math.log(4 / 3))


def test_bits_are_nats_over_log_2(logits: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(kl_divergence(*logits, True, base=2), kl_divergence(*logits, True) / math.log(2))


def test_no_rows_have_no_mean() -> None:
    p = torch.rand(0, 3)
    assert kl_divergence(p, p).isnan()
    assert kl_divergence(p, p, reduction="sum") == 0
    assert kl_divergence(p, p, reduction="none").shape == (0,)


SCALES: dict[str, tuple[bool | tuple[bool, bool], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "logits": (True, lambda x: x, lambda x: x),
    "probabilities": (False, torch.exp, torch.exp),
    "mixed": ((False, True), torch.exp, lambda x: x),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "none"])
def test_gradients_agree_with_finite_differences(scale: str, reduction: str) -> None:
    log_prob, to_p, to_q = SCALES[scale]
    x, y = torch.randn(2, 2, 5, 3, dtype=torch.float64).unbind()
    weights = torch.rand(2, 3)

    def value(x: Tensor, y: Tensor) -> Tensor:
        return kl_divergence(to_p(x), to_q(y), log_prob, reduction, dim=1, base=2, weights=weights)

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_agree_with_torch_and_have_the_dtype_of_their_input(dtype: torch.dtype) -> None:
    p, q = (x.to(dtype).requires_grad_() for x in torch.randn(2, 8, 300))
    kl_divergence(p, q, True).backward()
    p_, q_ = (x.detach().double().requires_grad_() for x in (p, q))
    torch.nn.functional.kl_div(q_.log_softmax(-1), p_.log_softmax(-1), reduction="none", log_target=True).sum(
        -1
    ).mean().backward()
    assert p.grad is not None and q.grad is not None and p.grad.dtype == q.grad.dtype == dtype
    torch.testing.assert_close(p.grad, p_.grad.to(dtype))
    torch.testing.assert_close(q.grad, q_.grad.to(dtype))


def test_gradients_at_zeros_and_masks_are_finite() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]], requires_grad=True)
    q = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]], requires_grad=True)
    kl_divergence(p, q, reduction="none").sum().backward()
    assert p.grad is not None and q.grad is not None
    assert p.grad.isfinite().all() and q.grad.isfinite().all()
    torch.testing.assert_close(q.grad[0], torch.tensor([1 - 0.5 / 0.2, 1 - 0.5 / 0.3, 1.0]))
    assert not p.grad[2].any() and not q.grad[2].any()  # an infinite row


def test_gradients_of_masked_logits_are_finite_and_zero_at_the_mask() -> None:
    mask = torch.tensor([[0.0, 0.0, -inf, 0.0], [-inf, 0.0, 0.0, -inf]])
    x, y = (z.requires_grad_() for z in torch.randn(2, 2, 4))
    kl_divergence(x + mask, y + mask, True).backward()
    for z in (x, y):
        assert z.grad is not None and z.grad.isfinite().all()
        assert not z.grad[mask == -inf].any()


def test_gradients_of_left_out_rows_are_zero() -> None:
    p, q = torch.rand(2, 2, 3).unbind()
    p[0] = math.nan
    p, q = p.requires_grad_(), q.requires_grad_()
    kl_divergence(p, q, weights=torch.tensor([0.0, 1.0])).backward()
    assert p.grad is not None and not p.grad[0].any() and p.grad[1].all()


def test_without_a_need_for_gradients_there_is_no_graph(logits: tuple[Tensor, Tensor]) -> None:
    p, q = (x.requires_grad_() for x in logits)
    with torch.no_grad():
        assert kl_divergence(p, q, True).grad_fn is None
    metric = KLDivergence(log_prob=True)
    metric.update(p, q)
    assert metric.compute().grad_fn is None
    assert metric(p, q).grad_fn is None
