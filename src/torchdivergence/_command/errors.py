"""Errors that the command prints in one line, and modules that only the command needs."""

from importlib import import_module
from typing import Any


class CommandError(Exception):
    """The command cannot run. The user sees only its message."""


def require(module: str) -> Any:
    """Import a module, which the extra "compare" installs."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"this needs the package {error.name}, which is not installed: pip install 'torchdivergence[compare]'."
        ) from None
