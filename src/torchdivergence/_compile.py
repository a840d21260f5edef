"""Functions that ``torch.compile`` calls without tracing them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


def dynamo_disable(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function that ``torch.compile`` must not trace.

    Unlike :func:`torch.compiler.disable` this imports the compiler only when something is being compiled: the import
    takes a second.
    """

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        disabled: Callable[_P, _T] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return disabled(*args, **kwargs)

    return call
