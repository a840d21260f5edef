"""The backends that compute rows. All that tests take from the package's private modules of rows is imported here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from torchdivergence import _divergences as specs
from torchdivergence import use_backend
from torchdivergence._metrics import row_evaluator
from torchdivergence._rows import native, reference

__all__ = ["BACKENDS", "HAS_NATIVE", "count_passes", "fail_in_rows", "native", "reference", "specs", "use_backend"]

BACKENDS = ("auto", "reference")
"""The backends for the CPU. "auto" is the native backend, if it was built, and falls back to the reference."""
HAS_NATIVE = bool(native.TERM_CODES)


@contextmanager
def fail_in_rows(error: type[BaseException]) -> Iterator[None]:
    """Raise the error instead of computing any row."""

    def fail(*_: Any) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_evaluator, "row_divergence", fail)
        yield


@contextmanager
def count_passes() -> Iterator[list[int]]:
    """A list that grows by one element each time that the reference backend reads a pair of tensors."""
    passes: list[int] = []
    normalize = reference._normalize

    def counted(*args: Any) -> Any:
        passes.append(1)
        return normalize(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_normalize", counted)
        yield passes
