"""The logits files of llama.cpp, which ``llama-perplexity --kl-divergence-base`` writes, read one chunk at a time.

A file holds, in little-endian order:

1. the eight bytes ``_logits_`` and three 32-bit integers: tokens in a chunk, classes, chunks;
2. the tokens of all chunks, as 32-bit integers;
3. for each chunk one row for every token of its second half but the last. A row is two float32 numbers, ``scale`` and
   ``lowest``, and a 16-bit code for each class, padded to an even number of codes.

The log-probability of a class is ``scale * code + lowest``. Logits more than 16 below the largest one are raised to
that level (the floor) before they are coded, so the code 0 of such a row is only an upper bound.
"""

import struct
from pathlib import Path

import numpy as np
import torch

from torchdivergence._command.errors import CommandError
from torchdivergence._command.rows import Rows

_MAGIC = b"_logits_"
_HEADER = struct.Struct("<8sIii")
_LARGEST_CODE = 65535
_FLOOR = 16.0
"""A row whose logits span this much may have classes below its floor."""
_ROW_HEAD = 4
"""Number of 16-bit words of a row that hold ``scale`` and ``lowest``."""


def is_logits_file(path: Path) -> bool:
    """Whether this is a file of llama.cpp, and not a model: by its name or its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".bin"


class LogitsFile:
    """An open file. Only its tokens are in memory.

    Attributes:
        tokens: ``[chunks, tokens]``.
        classes: The number of classes.
        scored_from: The first token of a chunk after which there is a row; the target is the next token.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
                context, self.classes, chunks = self._sizes(head)
                self.scored_from = context // 2
                self._rows, self._words = context - 1 - context // 2, 2 * ((self.classes + 1) // 2) + _ROW_HEAD
                self._check_size(size, context, chunks)
                tokens = np.fromfile(file, "<i4", chunks * context)
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}.") from None
        self.tokens = torch.from_numpy(tokens.astype(np.int64)).view(chunks, context)
        if not ((self.tokens >= 0) & (self.tokens < self.classes)).all():
            raise CommandError(f"{path} is damaged: it holds tokens outside of its {self.classes:,} classes.")

    def _sizes(self, head: bytes) -> tuple[int, int, int]:
        """Tokens in a chunk, classes, chunks."""
        if not head.startswith(_MAGIC):
            raise CommandError(
                f"{self.path} is no logits file of llama.cpp: it does not begin with {_MAGIC.decode()!r}. "
                "llama-perplexity --kl-divergence-base writes such files."
            )
        if len(head) < _HEADER.size:
            raise CommandError(f"{self.path} is truncated: it ends in its header.")
        _, context, classes, chunks = _HEADER.unpack(head)
        if context < 3 or classes < 2 or chunks < 1:
            raise CommandError(
                f"{self.path} holds no rows: its header names {chunks} chunks of {context} tokens, {classes} classes."
            )
        return context, classes, chunks

    def _check_size(self, size: int, context: int, chunks: int) -> None:
        self._start, self._chunk_bytes = _HEADER.size + 4 * chunks * context, 2 * self._rows * self._words
        wanted = self._start + chunks * self._chunk_bytes
        if size < wanted:
            whole = max(0, size - self._start) // self._chunk_bytes
            raise CommandError(
                f"{self.path} is truncated: its header names {chunks} chunks, which take {wanted:,} bytes, but it has "
                f"{size:,} bytes, {whole} whole chunks. Was llama-perplexity interrupted?"
            )
        if size > wanted:
            raise CommandError(
                f"{self.path} is damaged, or of a newer format: its header says {wanted:,} bytes, but it has {size:,}."
            )

    def read(self, chunk: int) -> Rows:
        """The rows of a chunk: log-probabilities in float64 as read, ``[1, rows, classes]``."""
        with self.path.open("rb") as file:
            words = np.fromfile(file, "<u2", self._rows * self._words, offset=self._start + chunk * self._chunk_bytes)
        words = words.reshape(self._rows, self._words)
        scale, lowest = np.ascontiguousarray(words[:, :_ROW_HEAD]).view("<f4").astype(np.float64).T[..., None]
        codes = words[:, _ROW_HEAD : _ROW_HEAD + self.classes]
        at_floor = (codes == 0) & (scale * _LARGEST_CODE > _FLOOR * (1 - 1e-6))  # scale is rounded to float32
        log_probs = codes * scale
        log_probs += lowest
        return Rows(torch.from_numpy(log_probs)[None], torch.from_numpy(at_floor)[None])
