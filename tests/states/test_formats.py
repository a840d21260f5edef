"""A state of another format is refused by its name."""

from typing import Any

import pytest
import torch

from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence
from torchdivergence._states.part import FORMAT

METRICS = {
    "metric": KLDivergence,
    "rows": lambda: KLDivergence(reduction="none"),
    "statistics": lambda: DivergenceStatistics(KLDivergence()),
    "report": lambda: DivergenceReport(log_prob=False),
}


def saved(kind: str, other: str) -> tuple[Any, dict[str, Any]]:
    """A metric, and the checkpoint of an equal one under the name of another format."""
    metric = METRICS[kind]()
    metric.update(*torch.rand(2, 3, 4))
    metric.persistent(True)
    (name,) = metric.metric_state
    assert f"_format{FORMAT}_" in name
    state = metric.state_dict()
    return metric, {name.replace(f"_format{FORMAT}", other): state.pop(name), **state}


@pytest.mark.parametrize("other", [f"_format{FORMAT + 1}", f"_format{FORMAT - 1}", "_format1", ""])
@pytest.mark.parametrize("kind", METRICS)
def test_a_checkpoint_of_another_format_is_refused(kind: str, other: str) -> None:
    metric, checkpoint = saved(kind, other)
    found = other.removeprefix("_format") or "1"
    with pytest.raises(RuntimeError, match=f"has format {found}, and this version of torchdivergence reads {FORMAT}"):
        metric.load_state_dict(checkpoint)


@pytest.mark.parametrize("kind", METRICS)
def test_a_state_of_another_format_is_not_merged(kind: str) -> None:
    metric, checkpoint = saved(kind, f"_format{FORMAT + 1}")
    with pytest.raises(ValueError, match=f"has format {FORMAT + 1}, and this version of torchdivergence reads"):
        metric.merge_state(checkpoint)
