"""The tokens that are compared: sequences of equal length, from a text or from a file of llama.cpp."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchdivergence._command.errors import CommandError


class Batch(NamedTuple):
    """Some sequences, and the index of the first one."""

    first: int
    tokens: Tensor


class Text(NamedTuple):
    """Sequences of tokens.

    Attributes:
        name: Of the file.
        tokens: ``[sequences, length]``.
        scored_from: The first token of a sequence after which there is a row; the target is the next token.
    """

    name: str
    tokens: Tensor
    scored_from: int = 0

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of ``size`` sequences."""
        for first in range(0, len(self.tokens), size):
            yield Batch(first, self.tokens[first : first + size])

    def targets(self, batch: Batch) -> Tensor:
        """The targets of a batch, ``[sequences, rows]``."""
        return batch.tokens[:, self.scored_from + 1 :]

    def keys(self) -> Tensor:
        """A 64-bit hash of each sequence and its place, the same in every run."""
        digests = (_digest(sequence, place) for place, sequence in enumerate(self.tokens))
        return torch.tensor([int.from_bytes(digest[:8], "little", signed=True) for digest in digests])

    def sha256(self) -> str:
        """A hash of all tokens."""
        return _digest(self.tokens).hex()


def _digest(tokens: Tensor, place: int = 0) -> bytes:
    return hashlib.sha256(place.to_bytes(8, "little") + tokens.numpy().astype("<i8").tobytes()).digest()


def tokenize(tokenizer: Any, text: str, name: str, number: int, length: int) -> Text:
    """The first tokens of a text, in whole sequences."""
    tokens = sequences(tokenizer, text, length)
    if number < length:
        raise CommandError(f"--tokens is {number:,}, but a sequence has {length:,}. Give more, or a smaller --length.")
    if not len(tokens):
        raise CommandError(f"the text is too short: {name} has fewer tokens than a sequence, {length:,}.")
    return Text(name, tokens[: number // length])


def sequences(tokenizer: Any, text: str, length: int) -> Tensor:
    """All whole sequences of a text. Each begins with the begin token, if there is one."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    begin = begin_token(tokenizer)
    inner = length - (begin is not None)
    whole = torch.tensor(ids[: len(ids) // inner * inner], dtype=torch.long).view(-1, inner)
    return whole if begin is None else torch.nn.functional.pad(whole, (1, 0), value=begin)


def begin_token(tokenizer: Any) -> int | None:
    """The token for the beginning of a text, if the tokenizer puts it there."""
    ids = tokenizer("a", verbose=False).input_ids
    begin = tokenizer.bos_token_id
    return begin if begin is not None and ids[:1] == [begin] else None


def read_text(path: Path | None) -> tuple[str, str]:
    """The text and its name; without a path that which every Python has: what ``help()`` shows on the language."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n\n".join(topics.values()), "the topics of Python's help"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not a text in UTF-8: byte {error.start:,} cannot be read.") from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}.") from None
