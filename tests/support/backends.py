"""The engines of the CPU, to have rows made by one of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from torchdivergence import _rows
from torchdivergence._rows import reference

ENGINES = ("native", "eager")  # the former leaves to the latter what it has no code for


@contextmanager
def only(engine: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if engine == "eager":
            patch.setattr(_rows, "_engines", lambda p: (reference,))  # noqa: ARG005
        yield
