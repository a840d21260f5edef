"""The compiled code, if the package was built with a compiler; else None, and all is done in torch."""

from typing import Any

from torch._compile import _disable_dynamo

native: Any
try:
    from torchdivergence import _native

    native = _native
except ImportError:
    native = None

opaque = _disable_dynamo
"""Keeps ``torch.compile`` out of a function. (``torch.compiler.disable`` would import its machinery at once.)"""
