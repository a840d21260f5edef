"""A pytest plugin that hides the native extension from the package."""

import sys

sys.modules["torchdivergence._native"] = None  # type: ignore[assignment]
