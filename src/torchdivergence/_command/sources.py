"""Where rows come from: a model that runs, or a file of llama.cpp."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from torchdivergence._command.llama_cpp import LogitsFile
from torchdivergence._command.rows import Rows
from torchdivergence._command.texts import Batch, Text


class Source(Protocol):
    """One side of a comparison."""

    classes: int
    dtype: str
    """The dtype of the weights, or of the values in the file."""

    def rows(self, batch: Batch, text: Text, p: Rows | None = None) -> Rows:
        """The rows of a batch. A candidate also gets those of the reference."""


class ModelSource:
    """A causal language model of transformers.

    Args:
        model: The model.
        first_token: The token that replaces the first one of each sequence in the input, or None.
    """

    def __init__(self, model: Any, first_token: int | None = None) -> None:
        self.model, self.first_token = model, first_token
        self.classes = vocabulary_size(model)
        parameter = next(model.parameters())
        self.dtype, self.device = dtype_name(parameter.dtype), parameter.device

    def rows(self, batch: Batch, text: Text, p: Rows | None = None) -> Rows:  # noqa: ARG002
        """Logits after each token that counts, on the CPU."""
        tokens = batch.tokens
        if self.first_token is not None:
            tokens = tokens.clone()
            tokens[:, 0] = self.first_token
        logits = self.model(tokens.to(self.device)).logits[:, text.scored_from : -1]
        return Rows(logits.cpu())


class LogitsSource:
    """A function of the reference's logits."""

    def __init__(self, logits: Callable[[Tensor], Tensor], reference: ModelSource) -> None:
        self.logits, self.classes, self.dtype = logits, reference.classes, reference.dtype

    def rows(self, batch: Batch, text: Text, p: Rows | None = None) -> Rows:  # noqa: ARG002
        """The logits."""
        assert p is not None
        return Rows(self.logits(p.logits))


class FileSource:
    """A file of llama.cpp."""

    dtype = "uint16"

    def __init__(self, file: LogitsFile) -> None:
        self.file, self.classes = file, file.classes

    def rows(self, batch: Batch, text: Text, p: Rows | None = None) -> Rows:  # noqa: ARG002
        """Log-probabilities as read."""
        chunks = [self.file.read(batch.first + i) for i in range(len(batch.tokens))]
        at_floor = [chunk.at_floor for chunk in chunks if chunk.at_floor is not None]
        return Rows(torch.cat([chunk.logits for chunk in chunks]), torch.cat(at_floor))


def vocabulary_size(model: Any) -> int:
    """The number of classes, padding included."""
    return len(model.get_output_embeddings().weight)


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, such as "float32"."""
    return str(dtype).removeprefix("torch.")
