"""The native extension, if it was built and fits this version of the package."""

import warnings
from importlib import import_module
from typing import Any

import torch  # noqa: F401 - it loads the OpenMP runtime that the extension calls

from torchdivergence._layout import EXPECTED

REBUILD = (
    "To build it, install gcc or clang and the Python headers, then run in a checkout of torchdivergence: "
    "pip install --force-reinstall --no-deps --no-cache-dir . "
)


def _load() -> tuple[Any, str, str]:
    """The extension and two empty strings, or None, the reason why it is missing, and what to do about it."""
    try:
        extension = import_module("torchdivergence._native")
    except ModuleNotFoundError:
        return None, "the native extension was not built", REBUILD
    except ImportError as error:
        return None, f"the native extension cannot be loaded: {error}", ""
    layout = getattr(extension, "LAYOUT", {})
    different = [
        f"{name} is {layout.get(name)} instead of {value}"
        for name, value in EXPECTED.items()
        if layout.get(name) != value
    ]
    if not different:
        return extension, "", ""
    return None, f"the native extension was built for another version ({'; '.join(different)})", REBUILD


native, missing, _advice = _load()
_warned = False


def warn_of_missing() -> None:
    """Say once that rows are computed without native code, and what to do."""
    global _warned
    if _warned:
        return
    _warned = True
    warnings.warn(
        f"{missing}. Plain PyTorch is used instead, which is as accurate but much slower. {_advice}To use it without "
        "this warning, set the environment variable TORCHDIVERGENCE_BACKEND=reference.",
        RuntimeWarning,
        stacklevel=2,
    )
