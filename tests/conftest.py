"""What several test modules share: processes, started once; Triton's interpreter where there is no GPU."""

import os
from collections.abc import Iterator

import pytest
import torch

from tests.support.processes import Ranks, ranks

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton asks for this before it is imported


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Four processes, started once for all tests; ``resize`` says how many of them are the world."""
    with ranks(4, tmp_path_factory.mktemp("ranks")) as pool:
        yield pool


@pytest.fixture(scope="module")
def two_ranks(processes: Ranks) -> Ranks:
    processes.resize(2)
    return processes
