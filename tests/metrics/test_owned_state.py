"""The tensor of state that a metric owns off the CPU. Its laws hold on any device: here it is on the CPU."""

from typing import Any

import pytest
import torch

from torchdivergence._metrics.owned_state import OwnedState
from torchdivergence._states import row_totals
from torchdivergence._states.part import DIVERGENCE, RowBatch
from torchdivergence._states.row_totals import RowTotals

PART: Any = RowTotals()
BATCH = RowBatch({DIVERGENCE: torch.tensor([0.5, 1.5], dtype=torch.float64)}, None, 2)


def test_a_state_that_was_made_in_inference_mode_is_written_outside_it() -> None:
    with torch.inference_mode():
        owned = OwnedState(PART.empty())
        owned.add(PART, BATCH)
    added = owned.copy()
    owned.add(PART, BATCH)
    assert torch.equal(owned.tensor, PART.merge_all([added, added]))
    assert owned.assign(PART.empty())
    assert torch.equal(owned.tensor, PART.empty())


def test_a_batch_that_torch_adds_in_several_steps_is_added_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    owned = OwnedState(PART.empty())
    monkeypatch.setattr(row_totals, "accumulate_", fail)
    with pytest.raises(torch.OutOfMemoryError):
        owned.add(PART, BATCH)
    assert torch.equal(owned.tensor, PART.empty())
