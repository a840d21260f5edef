"""The compiled code, if the package was built with a compiler; else None, and all is done in torch."""

from typing import Any

native: Any
try:
    from torchdivergence import _native

    native = _native
except ImportError:
    native = None
