"""A compiler without a memory, and the arithmetic of a GPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.devices import DEVICES


@pytest.fixture
def fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that remembers nothing: what it keeps on disk is found by the names of operators only."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def arithmetic_of_the_device() -> Iterator[None]:
    """The arithmetic of a GPU: its own, or emulated in Triton's interpreter."""
    if DEVICES[-1] == "cuda":
        yield
        return
    from tests.support.gpu_arithmetic import arithmetic_of_a_gpu

    with arithmetic_of_a_gpu():
        yield
