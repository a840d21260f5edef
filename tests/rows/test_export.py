"""Exported programs, saved and loaded: the same bits, and any number of rows."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.divergences import DIVERGENCES, KL, Divergence
from tests.support.graphs import SOME, compiles, operators_of, other_rows, quiet
from tests.support.textbook import (
    LOGITS,
    PROBABILITIES,
    WEIGHTS,
    Case,
    assert_equal,
    gradients,
    leaves,
)

pytestmark = quiet


class Divergences(torch.nn.Module):
    """The values of several divergences by their names, so that one export takes the time of one."""

    def __init__(self, case: Case, divergences: list[Divergence]) -> None:
        super().__init__()
        self.case = case
        self.divergences = {str(x): x for x in divergences}

    def forward(self, p: Tensor, q: Tensor, weights: Tensor) -> dict[str, Tensor]:
        return {name: self.case.ours(x)(p, q, weights=weights) for name, x in self.divergences.items()}


# Weights bring the constants NaN and inf into a program
SAVES_NAN = not (2, 7) <= torch.__version__ < (2, 9)  # type: ignore[operator]


def saved_and_loaded(program: Any) -> Any:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


# the divergences, the rows, the reduction, whether export is strict and whether the rows require gradients
EXPORTS: dict[str, tuple[list[Divergence], Case, str, bool, bool]] = {
    "strict": (DIVERGENCES, LOGITS, "none", True, False),
    "strict, the mean with gradients": (SOME, PROBABILITIES, "mean", True, True),
    "non-strict": (SOME, PROBABILITIES, "none", False, False),
    "non-strict, the sum with gradients": (SOME, LOGITS, "sum", False, True),
}


@compiles
@pytest.mark.parametrize(
    ("divergences", "case", "reduction", "strict", "requires_grad"), EXPORTS.values(), ids=EXPORTS.keys()
)
def test_an_exported_program_is_saved_and_takes_any_number_of_rows(
    divergences: list[Divergence], case: Case, reduction: str, strict: bool, requires_grad: bool
) -> None:
    module = Divergences(Case(case.log_prob, {"reduction": reduction}), divergences)
    p, q = (x.requires_grad_(requires_grad) for x in case.rows())
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (p, q, WEIGHTS), dynamic_shapes=({0: batch},) * 3, strict=strict)
    assert operators_of(program.graph).count("row_divergence") == len(divergences)
    assert set(operators_of(program.graph)) <= {"row_divergence", "exact_sum"}
    others = *other_rows(case, 9, 4), WEIGHTS.repeat(3) + 1 / 3
    expected = module(*others)
    for each in [program, saved_and_loaded(program)] if SAVES_NAN else [program]:
        values = each.module()(*others)
        assert values.keys() == expected.keys()
        assert all(torch.equal(values[name], value) for name, value in expected.items())


@compiles
def test_an_exported_loss_has_gradients() -> None:
    class Loss(torch.nn.Module):
        def forward(self, p: Tensor, q: Tensor) -> Tensor:
            return KL.function(p, q, True, temperature=0.7)

    program = torch.export.export(Loss(), LOGITS.rows())
    found, expected = (
        gradients(loss(x, y), (x, y))
        for loss in (program.module(), Loss())
        for x, y in [leaves(*other_rows(LOGITS, 3, 4))]
    )
    assert_equal(found, expected)
