"""The processes of these tests: one that fails spoils no later job."""

import pytest
import torch.distributed as dist

from tests.support import processes as module
from tests.support.processes import ProcessPool


def raise_while_the_other_rank_waits() -> None:
    if dist.get_rank() == 0:
        raise ArithmeticError("a reason")
    dist.barrier()


def test_a_failed_job_says_why_and_the_next_one_gets_ranks_in_step(
    two_processes: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)
    with pytest.raises(AssertionError, match=r"(?s)rank 0: .*a reason.*rank 1: no answer.*in barrier"):
        two_processes.run(raise_while_the_other_rank_waits)
    assert two_processes.run(dist.get_world_size) == [2, 2]
