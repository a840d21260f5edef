"""The native extension, if it was built and fits this version of the package."""

import warnings
from importlib import import_module
from typing import Any

from torchdivergence._layout import EXPECTED

REBUILD = "pip install --force-reinstall --no-deps torchdivergence (from a checkout: make test, or pip install .)"


def _load() -> tuple[Any, str]:
    """The extension and an empty string, or None and the reason why it is missing."""
    try:
        extension = import_module("torchdivergence._native")
    except ImportError as error:
        return None, f"the native extension was not built, or cannot be loaded: {error}"
    layout = getattr(extension, "LAYOUT", {})
    different = [
        f"{name} is {layout.get(name)} instead of {value}"
        for name, value in EXPECTED.items()
        if layout.get(name) != value
    ]
    if not different:
        return extension, ""
    reason = f"the native extension was built for another version of torchdivergence ({'; '.join(different)})"
    warnings.warn(f"{reason}: falling back to pure PyTorch. Rebuild it: {REBUILD}.", RuntimeWarning, stacklevel=2)
    return None, reason


native, missing = _load()
