"""Shared fixtures. Triton runs in its interpreter if there is no GPU."""

import os
from collections.abc import Iterator

import pytest
import torch

from tests.support.processes import ProcessPool, process_pool

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads this when it is imported


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPool]:
    """Processes for all tests; ``resize`` sets how many of them form the process group."""
    with process_pool(tmp_path_factory.mktemp("processes")) as pool:
        yield pool


@pytest.fixture(scope="module")
def two_processes(processes: ProcessPool) -> ProcessPool:
    processes.resize(2)
    return processes
