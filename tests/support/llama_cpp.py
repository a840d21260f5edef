"""Logits files of llama.cpp: real ones, and a writer that was made from the description of the format."""

import json
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tests.support import ROOT

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
