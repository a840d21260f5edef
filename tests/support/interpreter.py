"""Runs code in a fresh Python interpreter."""

import subprocess
import sys
from pathlib import Path

WITHOUT_NATIVE = "the native extension was not built"
"""The warning on a machine without a compiler, which is no error there."""
USE = """
import torch, torchdivergence
metric = torchdivergence.KLDivergence()
metric.update(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
"""


def python(code: str, *path: Path, flags: str = "-I") -> str:
    """The output of the code in an isolated interpreter in which warnings are errors."""
    start = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n"
    command = [
        sys.executable,
        flags,
        "-W",
        "error",
        "-W",
        f"ignore:{WITHOUT_NATIVE}:RuntimeWarning",
        "-c",
        start + code,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.strip()
