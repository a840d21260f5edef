"""Tensors of every kind that torch has, and its compiler, give the values of plain ones."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from torchdivergence import KLDivergence, TotalVariationDistance
from torchdivergence.functional import chi_squared_divergence, kl_divergence

P, Q = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0)).unbind()


class Named(Tensor):
    """A subclass with nothing of its own."""


@pytest.mark.parametrize(
    ("p", "plain"),
    [
        (P.as_subclass(Named), P),
        (torch.nn.Parameter(P), P),
        (torch._neg_view(P), -P),
        (torch.complex(P, P).conj().imag, -P),
        (torch._efficientzerotensor((4, 10)), torch.zeros(4, 10)),
    ],
    ids=["a subclass", "a parameter", "a negative view", "part of a conjugate", "zeros without memory"],
)
def test_a_tensor_of_another_kind_has_the_value_of_a_plain_one(p: Tensor, plain: Tensor) -> None:
    torch.testing.assert_close(
        kl_divergence(p, Q, log_prob=True).as_subclass(Tensor), kl_divergence(plain, Q, log_prob=True)
    )


# the compiler looks at the .grad of what it is handed, where it goes on after a call that it does not see into
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("function", [kl_divergence, chi_squared_divergence])
def test_a_compiled_function_has_the_value_and_the_gradient(function: object) -> None:
    def doubled(p: Tensor, q: Tensor) -> Tensor:
        return 2 * function(p, q, log_prob=True)  # type: ignore[operator]

    q, again = Q.clone().requires_grad_(), Q.clone().requires_grad_()
    value, plain = torch.compile(doubled, backend="eager")(P, q), doubled(P, again)
    value.backward()
    plain.backward()
    assert torch.equal(value, plain)
    assert torch.equal(q.grad, again.grad)


@pytest.mark.parametrize("metric", [KLDivergence, TotalVariationDistance])
def test_a_compiled_step_may_update_a_metric(metric: type) -> None:
    kept, plain = metric(log_prob=True), metric(log_prob=True)
    step = torch.compile(lambda p, q: kept.update(p * 2, q), backend="eager")
    for _ in range(2):
        step(P, Q)
        plain.update(P * 2, Q)
    assert torch.equal(kept.compute(), plain.compute())


def test_a_fake_tensor_has_a_fake_value() -> None:
    with torch._subclasses.FakeTensorMode():
        value = kl_divergence(torch.randn(4, 10), torch.randn(4, 10), log_prob=True, reduction="none")
    assert value.shape == (4,)
    assert value.dtype == torch.float64


def test_importing_the_package_does_not_import_the_compiler() -> None:
    code = "import sys, torch; before = 'torch._dynamo' in sys.modules; import torchdivergence.functional; "
    code += "sys.exit(not before and 'torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
