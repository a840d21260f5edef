"""What several test modules share: two processes, started once; Triton's interpreter where there is no GPU."""

import os
from collections.abc import Iterator

import pytest
import torch

from distributed import Ranks, ranks

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton asks for this before it is imported


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with ranks(2, tmp_path_factory.mktemp("ranks")) as pool:
        yield pool
