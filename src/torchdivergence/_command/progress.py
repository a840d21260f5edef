"""Progress on standard error. There is none if the output goes to a file or a pipe."""

import sys
from contextlib import nullcontext
from typing import Any

from torchdivergence._command.errors import CommandError, require


def quiet() -> bool:
    """Whether nobody watches."""
    return not (sys.stdout.isatty() and sys.stderr.isatty())


def progress_bar(name: str, total: int) -> Any:
    """A context with a bar of so many tokens, or None."""
    if quiet():
        return nullcontext()
    try:
        tqdm = require("tqdm").tqdm
    except CommandError:  # files of llama.cpp need nothing of the extra "compare"
        return nullcontext()
    return tqdm(desc=name, total=total, unit=" tokens", unit_scale=True)


def note(text: str) -> None:
    """Say something that is no result."""
    print(text, file=sys.stderr)
