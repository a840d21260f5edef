"""Progress bars and messages on standard error. Without a terminal there are no bars."""

import sys
from contextlib import nullcontext
from typing import Any

from torchdivergence._command.errors import CommandError, require


def quiet() -> bool:
    """Whether standard output or standard error is not a terminal."""
    return not (sys.stdout.isatty() and sys.stderr.isatty())


def progress_bar(name: str, total: int) -> Any:
    """A context that gives a progress bar over ``total`` tokens, or None."""
    if quiet():
        return nullcontext()
    try:
        tqdm = require("tqdm").tqdm
    except CommandError:  # files of llama.cpp need nothing of the extra "compare"
        return nullcontext()
    return tqdm(desc=name, total=total, unit=" tokens", unit_scale=True)


def note(text: str) -> None:
    """Print a message to standard error."""
    print(text, file=sys.stderr)
