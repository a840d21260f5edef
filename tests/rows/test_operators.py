"""The operators by themselves pass the checks of torch."""

import pytest
import torch

from tests.support.divergences import (
    HELLINGER,
    KL,
    Divergence,
    renyi,
)
from tests.support.graphs import OPERATORS, compiles, quiet
from tests.support.textbook import (
    LOGITS,
)

pytestmark = quiet


@compiles
@pytest.mark.parametrize(("divergence", "requires_grad"), [(KL, True), (HELLINGER, False), (renyi(0.5), True)], ids=str)
def test_the_operators_of_rows_pass_the_checks_of_torch(divergence: Divergence, requires_grad: bool) -> None:
    p, q = (x.requires_grad_(requires_grad) for x in LOGITS.rows())
    key, ones = key_of(divergence), torch.ones(3, dtype=torch.float64)
    values, log_masses = (x.detach() for x in OPERATORS.ROW_DIVERGENCE_AND_MASSES(p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCE, (p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCE_AND_MASSES, (p, q, 3, 0.7, key))
    torch.library.opcheck(OPERATORS.ROW_GRADIENTS, (ones, values, p, q, log_masses, 3, 0.7, key, 3))
    torch.library.opcheck(OPERATORS.ROW_DIVERGENCES, (p, q, 3, 0.7, 2, f"{key} entropy"))


def key_of(divergence: Divergence) -> str:
    """The name under which the operators know it."""
    name = divergence.function.__name__
    return ":".join([name, *(f"{k}={float(v)}" for k, v in divergence.parameter.items())])


@compiles
@pytest.mark.parametrize("requires_grad", [False, True], ids=["", "with gradients"])
def test_the_operator_of_exact_sums_passes_the_checks_of_torch(requires_grad: bool) -> None:
    values = torch.tensor([1.0, 1e-30, 3.0], dtype=torch.float64, requires_grad=requires_grad)
    torch.library.opcheck(torch.ops.torchdivergence.exact_sum.default, (values,))
