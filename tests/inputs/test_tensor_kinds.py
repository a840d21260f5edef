"""Every kind of tensor that torch has gives the value of a plain one."""

import pytest
import torch
from torch import Tensor

from torchdivergence.functional import kl_divergence

P, Q = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0)).unbind()


class Named(Tensor):
    """A subclass without attributes."""


@pytest.mark.parametrize(
    ("p", "plain"),
    [
        (P.as_subclass(Named), P),
        (torch.nn.Parameter(P), P),
        (torch._neg_view(P), -P),
        (torch.complex(P, P).conj().imag, -P),
        (torch._efficientzerotensor((4, 10)), torch.zeros(4, 10)),
    ],
    ids=["subclass", "parameter", "negative view", "conjugate view", "zero tensor without storage"],
)
def test_every_kind_of_tensor_has_the_value_of_a_plain_one(p: Tensor, plain: Tensor) -> None:
    torch.testing.assert_close(
        kl_divergence(p, Q, log_prob=True).as_subclass(Tensor), kl_divergence(plain, Q, log_prob=True)
    )


def test_a_fake_tensor_has_a_value_of_the_right_shape_and_dtype() -> None:
    with torch._subclasses.FakeTensorMode():
        value = kl_divergence(torch.randn(4, 10), torch.randn(4, 10), log_prob=True, reduction="none")
    assert value.shape == (4,)
    assert value.dtype == torch.float64
