"""The two compilers: the C code, if the package was built with it, and what keeps ``torch.compile`` out."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")

native: Any
"""None if the package was built without a compiler: then all is done in torch."""
try:
    from torchdivergence import _native

    native = _native
except ImportError:
    native = None


def opaque(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that ``torch.compile`` calls and does not look into."""

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not torch.compiler.is_compiling():  # else its machinery would be imported for nothing, which takes a second
            return function(*args, **kwargs)
        disabled: Callable[_P, _T] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return call
