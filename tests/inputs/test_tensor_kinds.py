"""Every kind of tensor gives the value of a plain one, or a documented error, in functions and in metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor

from tests.support.devices import every_device
from tests.support.divergences import Divergence, every_divergence
from torchdivergence import DivergenceCollection, DivergenceReport, DivergenceStatistics, KLDivergence
from torchdivergence.functional import kl_divergence

P, Q = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0)).unbind()
SHAPE = (4, 10)


class Named(Tensor):
    """A subclass without attributes."""


def fake(x: Tensor) -> Tensor:
    return FakeTensorMode().from_tensor(x)


PLAIN: dict[str, tuple[Callable[[Tensor], Any], Callable[[Tensor], Tensor]]] = {
    "parameter": (torch.nn.Parameter, lambda x: x),
    "subclass": (lambda x: x.as_subclass(Named), lambda x: x),
    "transposed": (lambda x: x.T.contiguous().T, lambda x: x),
    "strided": (lambda x: x.repeat_interleave(2, -1)[:, ::2], lambda x: x),
    "expanded": (lambda x: x[:1].expand(SHAPE), lambda x: x[:1].repeat(4, 1)),
    "negative view": (lambda x: torch._neg_view(x), lambda x: -x),
    "conjugate view": (lambda x: torch.complex(x, x).conj().imag, lambda x: -x),
    "zero tensor without storage": (
        lambda x: torch._efficientzerotensor(SHAPE, device=x.device),
        lambda x: torch.zeros(SHAPE, device=x.device),
    ),
    "inference tensor": (torch.inference_mode()(lambda x: x * 1), lambda x: x),
    "half": (lambda x: x.half(), lambda x: x.half().float()),
    "numpy": (lambda x: torch.from_numpy(x.cpu().numpy()).to(x.device), lambda x: x),
    "requires grad": (lambda x: x.clone().requires_grad_(), lambda x: x),
}
REFUSED: dict[str, tuple[Callable[[Tensor], Any], type[Exception], str]] = {
    "list": (lambda x: x.tolist(), TypeError, r"got list: use torch\.as_tensor\(p\)"),
    "list of tensors": (lambda x: list(x), TypeError, r"got list: use torch\.stack\(p\)"),
    "array": (lambda x: np.asarray(x), TypeError, r"got ndarray: use torch\.as_tensor\(p\)"),
    "dict": (lambda x: {"logits": x}, TypeError, r'got dict: use the tensor in it, such as p\["logits"\]'),
    "tuple": (lambda x: (x, x), TypeError, r"got tuple: use the tensor in it, such as p\[0\]"),
    "distribution": (lambda x: torch.distributions.Categorical(logits=x), TypeError, r"got Categorical: use p\.logits"),
    "jagged": (
        lambda x: torch.nested.nested_tensor([x, x], layout=torch.jagged),
        TypeError,
        r"nested: use p\.values\(\)",
    ),
    "sparse": (lambda x: x.to_sparse(), TypeError, r"torch\.sparse_coo: use p\.to_dense\(\)"),
    "quantized": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), TypeError, r"use p\.dequantize\(\)"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), TypeError, r"no arithmetic: use p\.float\(\)"),
    "complex": (lambda x: x.to(torch.complex64), TypeError, "must hold real numbers"),
    "bool": (lambda x: x > 0, TypeError, "must hold real numbers"),
    "integers": (lambda x: x.int(), TypeError, "must be floating point"),
}
METRICS: dict[str, Callable[[], Any]] = {
    "metric": lambda: KLDivergence(log_prob=True),
    "rows": lambda: KLDivergence(log_prob=True, reduction="none"),
    "statistics": lambda: DivergenceStatistics(KLDivergence(log_prob=True)),
    "report": DivergenceReport,
    "collection": lambda: DivergenceCollection([KLDivergence(log_prob=True)]),
}
pytestmark = pytest.mark.filterwarnings("ignore:(The PyTorch API of nested|.*quantize_per_tensor|torch.ao):UserWarning")


@every_device
@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_every_kind_of_tensor_has_the_bits_of_a_plain_one(kind: str, reduction: Any, device: str) -> None:
    (make, plain), p, q = PLAIN[kind], P.to(device), Q.to(device)
    found = kl_divergence(make(p), make(q), True, reduction)
    assert torch.equal(found.detach().as_subclass(Tensor), kl_divergence(plain(p), plain(q), True, reduction))


@every_device
@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", PLAIN)
def test_metrics_accumulate_every_kind_of_tensor_like_a_plain_one(kind: str, name: str, device: str) -> None:
    (make, plain), p, q = PLAIN[kind], P.to(device), Q.to(device)
    values = []
    for convert in (make, plain):
        metric = METRICS[name]().to(device)
        metric.update(convert(p), convert(q))
        metric(convert(q), convert(p))
        values.append(metric.compute())
    assert torch.equal(*values) if isinstance(values[0], Tensor) else str(values[0]) == str(values[1])


@pytest.mark.parametrize("kind", REFUSED)
def test_functions_refuse_other_kinds_and_say_what_to_write(kind: str) -> None:
    make, error, text = REFUSED[kind]
    with pytest.raises(error, match=text):
        kl_divergence(make(P), make(Q), log_prob=True)


ADVICE: dict[str, Callable[[Any], Tensor]] = {
    "list": torch.as_tensor,
    "list of tensors": torch.stack,
    "array": torch.as_tensor,
    "dict": lambda p: p["logits"],
    "tuple": lambda p: p[0],
    "distribution": lambda p: p.logits,
    "jagged": lambda p: p.values(),
    "sparse": lambda p: p.to_dense(),
    "quantized": lambda p: p.dequantize(),
    "float8": lambda p: p.float(),
}


@pytest.mark.parametrize("kind", ADVICE)
def test_the_advice_of_an_error_works(kind: str) -> None:
    make, _, _ = REFUSED[kind]
    value = kl_divergence(ADVICE[kind](make(P)), ADVICE[kind](make(Q)), log_prob=True)
    assert value.isfinite() and value.ndim == 0


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda x: x.to("meta"), TypeError, "on the device meta, which have no numbers"),
        (fake, TypeError, "cannot accumulate a FakeTensor"),
        (lambda x: TwoTensor(x.clone(), x.clone()), TypeError, "cannot accumulate a TwoTensor"),
    ],
    ids=["meta", "fake", "wrapper subclass"],
)
def test_metrics_refuse_tensors_without_memory_and_lose_nothing(
    name: str, make: Callable[[Tensor], Tensor], error: type[Exception], text: str
) -> None:
    metric = METRICS[name]()
    metric.update(P, Q)
    before = str(metric.compute())
    for call in (metric.update, metric):
        with pytest.raises(error, match=text):
            call(make(P), make(Q))
    metric = metric.reset() or metric
    metric.update(P, Q)
    assert str(metric.compute()) == before


@pytest.mark.parametrize("name", METRICS)
def test_metrics_on_another_device_than_the_rows_are_refused_with_what_to_write(name: str) -> None:
    metric = METRICS[name]().to("meta")
    with pytest.raises(ValueError, match=r"metric is on meta, but p and q are on cpu: .*metric\.to\('cpu'\)"):
        metric.update(P, Q)


def test_metrics_refuse_updates_inside_transforms() -> None:
    metric = KLDivergence(log_prob=True)
    with pytest.raises(TypeError, match=r"inside a torch\.func transform"):
        torch.func.vmap(lambda p, q: metric.update(p, q) or p)(P, Q)  # type: ignore[func-returns-value]
    assert metric.update_count == 0


@every_divergence
@pytest.mark.parametrize("reduction", ["none", "mean", "batchmean", "sum"])
def test_meta_and_fake_tensors_have_values_of_the_right_shape_and_dtype(divergence: Divergence, reduction: Any) -> None:
    shape = (4,) if reduction == "none" else ()
    for make in (lambda x: x.to("meta"), FakeTensorMode().from_tensor):
        value = divergence.function(make(P), make(Q), True, reduction, **divergence.parameter)
        assert (value.shape, value.dtype, value.device) == (shape, torch.float64, make(P).device)
        weighted = divergence.function(
            make(P), make(Q), True, reduction, weights=make(torch.ones(4)), **divergence.parameter
        )
        assert weighted.shape == shape


def test_wrapper_subclasses_have_values_of_their_kind() -> None:
    p, q = (TwoTensor(x.clone(), 2 * x) for x in (P, Q))
    found = kl_divergence(p, q, True, "none")
    assert isinstance(found, TwoTensor)
    assert torch.equal(found.a, kl_divergence(P, Q, True, "none"))
    assert torch.equal(found.b, kl_divergence(2 * P, 2 * Q, True, "none"))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_default_device_does_not_matter(device: str) -> None:
    statistics = DivergenceStatistics(KLDivergence(log_prob=True))
    with torch.device(device):
        value = kl_divergence(P, Q, log_prob=True)
        statistics.update(P, Q)
        assert statistics.to_dict()["mean"] == value == kl_divergence(P, Q, log_prob=True)
