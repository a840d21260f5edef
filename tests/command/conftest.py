"""A small language model, its folder with a tokenizer of bytes, and a text."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.small_models import CLASSES, Model, save_tokenizer, small_model


@pytest.fixture(scope="session")
def reference() -> Model:
    return small_model()


@pytest.fixture(scope="session")
def sequences() -> Tensor:
    return torch.randint(CLASSES, (5, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def folder(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model and its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "reference"
    save_tokenizer(path)
    reference.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "fox.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 5, encoding="utf-8")
    return path
