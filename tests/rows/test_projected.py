"""Hidden states and their head in place of logits: values, bits, gradients, and how much lives at a time."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.divergences import KL, Divergence, every_divergence
from tests.support.helpers import Snapshot, assert_all_same, assert_same_bits
from torchdivergence import (
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    Entropy,
    KLDivergence,
    Projected,
    TotalVariationDistance,
)
from torchdivergence._inputs import projection
from torchdivergence.functional import entropy, kl_divergence

WIDTH, CLASSES = 24, 301
BATCH = 3, 50


class Capped(nn.Module):
    """A norm, a linear layer, a scale and a softcap."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.norm, self.linear = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, hidden: Tensor) -> Tensor:
        return 5 * torch.tanh(0.5 * self.linear(self.norm(hidden)) / 5)


def hidden(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*(shape or BATCH), WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)


def head(make: Callable[..., nn.Module] = Capped, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    return make().to(dtype).requires_grad_(False)


def sides(**settings: Any) -> tuple[Projected, Projected]:
    """A head, and hidden states that were changed a little."""
    p = hidden(0)
    own = head()
    return Projected(p, own, **settings), Projected(p + 0.1 * hidden(1), own, **settings)


def full(x: Projected) -> Tensor:
    """All logits, in float64."""
    return Capped.forward(head(dtype=torch.float64), x.hidden.double())  # type: ignore[arg-type]


@every_divergence
def test_values_are_those_of_the_logits(divergence: Divergence) -> None:
    p, q = sides(dtype=torch.float64, block_size=16)
    expected = divergence.rows(full(p), full(q))
    torch.testing.assert_close(divergence.rows(p, q), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(divergence.rows(p, full(q)), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(
        divergence.rows(full(p).transpose(0, 1), q.with_hidden(q.hidden.transpose(0, 1))).T, expected, rtol=1e-9, atol=0
    )


METRICS: dict[str, Callable[[], Any]] = {
    "metric": lambda: KLDivergence(log_prob=True),
    "entropy": lambda: Entropy(log_prob=True),
    "collection": lambda: DivergenceCollection([KLDivergence(log_prob=True), TotalVariationDistance(log_prob=True)]),
    "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True)),
    "report": lambda: DivergenceReport(top_k=(1, 3), num_classes=300),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", METRICS.values(), ids=METRICS.keys())
def test_any_batches_give_the_same_bits(make: Callable[[], Any], dtype: torch.dtype) -> None:
    own, p, q = head(dtype=dtype), hidden(0, dtype=dtype), hidden(1, dtype=dtype)
    target = {"target": torch.arange(150).view(BATCH)}
    whole, split = make(), make()
    extra = target if isinstance(whole, DivergenceReport) else {}
    whole.update(Projected(p, own), Projected(q, own), **extra)
    for text in range(len(p)):
        part = {name: x[text : text + 1] for name, x in extra.items()}
        split.update(Projected(p[text : text + 1], own, block_size=64), Projected(q[text : text + 1], own), **part)
    values, expected = (x.compute() if isinstance(x.compute(), dict) else {"": x.compute()} for x in (split, whole))
    assert_all_same(values, expected)


def test_each_row_has_the_same_bits_at_any_place() -> None:
    p, q = sides()
    together = kl_divergence(p, q, True, "none").flatten()
    for place in (0, 63, 64, 149):
        a, b = (x.with_hidden(x.hidden.flatten(0, 1)[place]) for x in (p, q))
        assert_same_bits(kl_divergence(a, b, True, "none"), together[place])


def test_a_report_has_the_values_of_the_logits() -> None:
    p, q = sides(dtype=torch.float64)
    target = torch.arange(150).view(BATCH)
    target[0, :5] = -100
    reports = (
        DivergenceReport(top_k=(1, 3), worst=4, keep_sequences=True),
        DivergenceReport(top_k=(1, 3), worst=4, keep_sequences=True),
    )
    reports[0].update(p, q, target=target)
    reports[1].update(full(p), full(q), target=target)
    torch.testing.assert_close(*(x.compute() for x in reports), rtol=1e-8, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_narrow_head_is_projected_in_the_wide_dtype_and_cast_in_parts(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "_PART", 20 * WIDTH)
    own, states = head(dtype=torch.bfloat16), hidden(0, 64)
    with LargestCast() as largest:
        logits = Projected(states, own, dtype=dtype).logits(states)
    wide = head(dtype=torch.bfloat16).to(dtype)
    torch.testing.assert_close(logits, wide(states.to(dtype)), rtol=0, atol=1e-13 if dtype == torch.float64 else 3e-6)
    assert largest.numbers <= max(20 * WIDTH, 64 * WIDTH)


class LargestCast(TorchDispatchMode):
    """The most numbers that are cast at once."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "_to_copy" in str(func):
            self.numbers = max(self.numbers, result.numel())
        return result


@every_divergence
def test_gradients_are_those_of_the_logits(divergence: Divergence) -> None:
    own = head(dtype=torch.float64).requires_grad_()
    leaves = [hidden(0).double().requires_grad_(), hidden(1).double().requires_grad_(), *own.parameters()]
    weights = torch.rand(BATCH, generator=torch.Generator().manual_seed(5))
    p, q = (Projected(x, own, dtype=torch.float64, block_size=16) for x in leaves[:2])
    losses = (
        divergence.rows(p, q, weights=weights).sum(),
        divergence.rows(*(own(x) for x in leaves[:2]), weights=weights).sum(),
    )
    found, expected = (torch.autograd.grad(loss, leaves, allow_unused=True) for loss in losses)
    for grad, wanted in zip(found, expected, strict=True):
        if wanted is not None:
            torch.testing.assert_close(grad, wanted, rtol=1e-9, atol=1e-12 * float(wanted.abs().max()))


def test_gradients_of_a_narrow_head_are_those_of_the_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_PART", 20 * WIDTH)
    narrow = nn.Linear(WIDTH, CLASSES).bfloat16()
    wide = narrow.weight.detach().double().requires_grad_(), narrow.bias.detach().double().requires_grad_()
    states, q = hidden(0, 30).requires_grad_(), torch.randn(30, CLASSES)
    kl_divergence(Projected(states, narrow), q, log_prob=True).backward()
    same = states.detach().double().requires_grad_()
    kl_divergence(nn.functional.linear(same, *wide), q, log_prob=True).backward()
    pairs = (states, same, 1e-5), (narrow.weight, wide[0], 2**-8), (narrow.bias, wide[1], 2**-8)
    for x, y, tolerance in pairs:
        assert x.grad is not None
        assert y.grad is not None
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=tolerance, atol=tolerance * float(y.grad.abs().max()))


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_logits_of_one_block_live_at_a_time(needs_gradient: bool) -> None:
    own, most = head().requires_grad_(needs_gradient), 0
    alive: list[Any] = []

    def watched(states: Tensor) -> Tensor:
        nonlocal most
        logits: Tensor = own(states)
        assert len(logits) in (2, 8)
        alive.append(weakref.ref(logits))
        gc.collect()
        most = max(most, sum(x() is not None for x in alive))
        return logits

    p, q = (Projected(hidden(seed).requires_grad_(needs_gradient), watched, block_size=8) for seed in (0, 1))
    loss = kl_divergence(p, q, log_prob=True)
    if needs_gradient:
        loss.backward()
    assert len(alive) > 2 * 150 // 8
    assert most <= 4, "a block of each side, and those that check the head"


def test_p_is_projected_once_where_q_is_the_same() -> None:
    def counted(states: Tensor) -> Tensor:
        calls.append(len(states))
        logits: Tensor = own(states)
        return logits

    own, calls = head(), []  # type: ignore[var-annotated]
    p = Projected(hidden(0, 10), counted)
    entropy(p, log_prob=True)
    assert calls == [2, 64, 64], "for the number of classes, for the logits, and to check the head"
    calls.clear()
    kl_divergence(p, p, log_prob=True)
    assert calls == [64]


def of_four(own: Any, **settings: Any) -> Callable[[], Projected]:
    """Four rows, projected by a head."""
    return lambda: Projected(hidden(0, 4), own, **settings)


Bad = tuple[Callable[[], Projected], type[Exception], str]
BAD: dict[str, Bad] = {
    "head gives a number": (of_four(lambda x: float(len(x))), ValueError, "gave float"),
    "head gives too few rows": (of_four(lambda x: x.new_ones(1, 301)), ValueError, r"gave torch.float32 \(1, 301\)"),
    "head gives integers": (of_four(lambda x: x.long()), ValueError, "gave torch.int64"),
    "too few classes": (of_four(head(), num_classes=302), ValueError, "at least num_classes=302"),
    "dropout": (of_four(nn.Sequential(nn.Linear(WIDTH, 301), nn.Dropout())), ValueError, "eval"),
    "batch norm": (of_four(nn.Sequential(nn.Linear(WIDTH, 301), nn.BatchNorm1d(301))), ValueError, "eval"),
    "no head": (of_four(torch.ones(3, WIDTH)), TypeError, "head must be callable"),
    "dtype": (of_four(head(), dtype=torch.bfloat16), ValueError, "float32 or torch.float64"),
    "block": (of_four(head(), block_size=0), ValueError, "block_size must be a positive"),
    "width does not fit": (lambda: Projected(hidden(0, 4)[:, :9], head()), RuntimeError, "shape"),
    "no hidden states": (lambda: Projected([1.0], head()), TypeError, "hidden must be a floating"),  # type: ignore[arg-type]
    "tokens": (lambda: Projected(torch.arange(4), head()), TypeError, "torch.int64"),
    "a number": (lambda: Projected(torch.tensor(1.0), head()), ValueError, "single number"),
    "rows": (lambda: Projected(hidden(0, 5), head()), ValueError, "same shape"),
}


@pytest.mark.parametrize(("make", "error", "text"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_error_and_changes_nothing(
    make: Callable[[], Projected], error: type[Exception], text: str
) -> None:
    metric = KLDivergence(log_prob=True)
    metric.update(torch.zeros(4, 301), torch.randn(4, 301))
    before = Snapshot(metric)
    with pytest.raises(error, match=text):
        metric.update(torch.randn(4, 301), make())
    before.assert_unchanged()


def test_settings_that_do_not_suit_logits_are_refused() -> None:
    p, q = sides()
    with pytest.raises(ValueError, match="log_prob must be True for q"):
        kl_divergence(full(p).softmax(-1), q)
    with pytest.raises(ValueError, match="dim must be -1"):
        kl_divergence(p, q, True, dim=1)
    with pytest.raises(ValueError, match="let their head divide by it"):
        kl_divergence(p, q, True, temperature=torch.tensor(2.0, requires_grad=True))


def test_dropout_is_found_beside_masked_classes_and_after_an_empty_batch() -> None:
    linear, mask = nn.Linear(WIDTH, 301, bias=False), torch.zeros(301).index_fill(0, torch.tensor([300]), -torch.inf)
    dropout = nn.Dropout()

    def masked(states: Tensor) -> Tensor:
        return dropout(linear(states)) + mask

    for rows in (0, 4):
        p = Projected(hidden(0, rows), masked)
        if rows:
            with pytest.raises(ValueError, match="eval"):
                kl_divergence(p, p, log_prob=True)
        else:
            kl_divergence(p, p, log_prob=True)


def test_a_head_may_write_in_place() -> None:
    narrow = nn.Linear(WIDTH, 301).bfloat16()

    def masked(states: Tensor) -> Tensor:
        counts = states.new_zeros(1, dtype=torch.float64)
        counts.add_(1)
        logits: Tensor = narrow(states) * counts.float()
        return logits

    p, q = Projected(hidden(0, 4), masked), Projected(hidden(0, 4), narrow)
    assert kl_divergence(p, q, log_prob=True) == 0


def test_no_rows_give_no_values() -> None:
    p, q = (x.with_hidden(x.hidden[:0]) for x in sides())
    assert kl_divergence(p, q, True, "none").shape == (0, 50)


def test_a_temperature_and_a_mask_apply() -> None:
    p, q = sides(dtype=torch.float64)
    mask = torch.arange(50) < 20
    expected = KL.function(full(p), full(q), True, temperature=2.0, weights=mask)
    torch.testing.assert_close(kl_divergence(p, q, True, temperature=2.0, weights=mask), expected, rtol=1e-10, atol=0)
    assert_all_same({"": kl_divergence(p, p, True)}, {"": torch.zeros((), dtype=torch.float64)})
