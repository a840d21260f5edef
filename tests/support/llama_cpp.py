"""Logits files of llama.cpp: real ones, and a writer that was made from the description of the format.

``python -m tests.support.llama_cpp`` prints what llama.cpp printed beside what this package finds.
"""

import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tests.support import ROOT
from torchdivergence import DivergenceReport
from torchdivergence._command.floor import merge_floored
from torchdivergence._command.llama_cpp import LogitsFile
from torchdivergence._command.rows import Rows

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
Join = Callable[[Rows, Rows, Tensor], tuple[Tensor, Tensor]]
FILES = ROOT / "tests" / "data" / "llama_cpp"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))


def unpack(name: str, folder: Path) -> Path:
    """A file of the test data, decompressed."""
    path = folder / name
    if not path.exists():
        path.write_bytes(lzma.decompress((FILES / f"{name}.xz").read_bytes()))
    return path


def code_rows(logits: Tensor) -> npt.NDArray[np.uint16]:
    """``[rows, classes]`` as 16-bit words."""
    x = logits.numpy().astype(np.float32)
    top, low = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
    log_sum = np.log(np.exp((x - top).astype(np.float64)).sum(-1, keepdims=True)).astype(np.float32)
    floor = np.maximum(low, top - np.float32(16))
    scale = (top - floor) / np.float32(65535)
    codes = np.rint((np.maximum(x, floor) - floor) / np.where(scale > 0, scale, np.float32(1))).astype("<u2")
    head = np.concatenate([scale, floor - top - log_sum], -1).astype("<f4").view("<u2")
    return np.concatenate([head, codes, np.zeros((len(x), x.shape[-1] % 2), "<u2")], -1)


def write_logits(path: Path, tokens: Tensor, logits: Tensor) -> Path:
    """Write tokens, ``[chunks, context]``, and the logits after each of them, ``[chunks, context, classes]``."""
    (chunks, context), classes = tokens.shape, logits.shape[-1]
    rows = logits[:, context // 2 : context - 1].flatten(0, 1)
    head = struct.pack("<8sIii", b"_logits_", context, classes, chunks)
    path.write_bytes(head + tokens.numpy().astype("<i4").tobytes() + code_rows(rows).tobytes())
    return path


def as_logits(p: Rows, q: Rows, _: Tensor) -> tuple[Tensor, Tensor]:
    """Without regard for the floor."""
    return p.logits, q.logits


def report_of(p: LogitsFile, q: LogitsFile, join: Join) -> dict[str, float]:
    report = DivergenceReport(quantiles=QUANTILES)
    for chunk, tokens in enumerate(p.tokens):
        target = tokens[None, p.scored_from + 1 :]
        report.update(*join(p.read(chunk), q.read(chunk), target), target=target)
    return report.to_dict()


def report_of_pair(pair: str, folder: Path, join: Join) -> dict[str, float]:
    p, q = (LogitsFile(unpack(EXPECTED["pairs"][pair][side], folder)) for side in ("reference", "candidate"))
    return report_of(p, q, join)


def printed_beside_ours(folder: Path) -> list[tuple[str, float, float, float]]:
    """A printed line or its error, what is printed, ours, and half of the unit of the last printed digit."""
    ours, lines = report_of_pair("narrow-Q4_0", folder, merge_floored), list[tuple[str, float, float, float]]()
    for line, printed in EXPECTED["pairs"]["narrow-Q4_0"]["llama_cpp"].items():
        value, error, factor = EXPECTED["lines"][line]
        digit = 1e-6 if factor == 1 else 1e-2 if line.startswith("Cor") else 1e-3
        lines.append((line, printed[0], factor * ours[value], digit / 2))
        if error is not None:
            lines.append((f"± {line}", printed[1], factor * ours[error], digit / 2))
    return lines


def floor_table(folder: Path) -> list[tuple[str, float, float, float]]:
    """A value of the models, of the rows in the wide files with the floor as one class, and with a softmax over all."""
    merged, plain = (report_of_pair("wide-Q4_0", folder, join) for join in (merge_floored, as_logits))
    true = EXPECTED["pairs"]["wide-Q4_0"]["of_float32_logits"]
    return [(name, true[name], merged[name], plain[name]) for name in ("kl_mean", "perplexity_p", "perplexity_q")]


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        print("| Line | llama.cpp | here |\n|---|---:|---:|")
        for line, printed, found, half in printed_beside_ours(Path(place)):
            decimals = {5e-7: 6, 5e-4: 3, 5e-3: 2}[half]
            print(f"| {line} | {printed:.{decimals}f} | {found:.{decimals}f} |")
        print("\n| Value | of the models | here | softmax |\n|---|---:|---:|---:|")
        for value, *numbers in floor_table(Path(place)):
            print(f"| `{value}` | {' | '.join(f'{x:.4f}' for x in numbers)} |")
