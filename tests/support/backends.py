"""The backends that compute rows. All that tests take from the package's private modules of rows is imported here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from torchdivergence import _generators as specs
from torchdivergence import _rows
from torchdivergence._rows import eager, native

__all__ = ["BACKENDS", "HAS_NATIVE", "count_passes", "eager", "fail_in_rows", "native", "specs", "use_backend"]

BACKENDS = ("native", "eager")
"""The backends for the CPU. "native" falls back to "eager" where it has no code."""
HAS_NATIVE = bool(native._SUMS)


@contextmanager
def use_backend(backend: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if backend == "eager":
            patch.setattr(_rows, "_engines", lambda _: (eager,))
        yield


@contextmanager
def fail_in_rows(error: type[BaseException]) -> Iterator[None]:
    """Raise the error instead of computing any row."""

    def fail(*_: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "divergence", fail)
        yield


@contextmanager
def count_passes() -> Iterator[list[int]]:
    """A list that grows by one element each time that the eager backend reads a pair of tensors."""
    passes: list[int] = []
    compare = eager._compare

    def counted(*args: Any) -> Any:
        passes.append(1)
        return compare(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eager, "_compare", counted)
        yield passes
