"""A small language model, its folder with a tokenizer of bytes, and a text."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.command import Run, logits_file
from tests.support.small_models import CLASSES, Model, save_tokenizer, small_model
from torchdivergence.__main__ import main
from torchdivergence._command.rounding import round_weights


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


@pytest.fixture(scope="session")
def candidate(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference with int4 weights and eight padded classes, without a tokenizer."""
    padded = copy.deepcopy(reference)
    padded.resize_token_embeddings(CLASSES + 8, mean_resizing=False)
    path = tmp_path_factory.mktemp("candidates") / "candidate"
    round_weights(padded, 4).save_pretrained(path)
    return path


@pytest.fixture
def run(folder: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``compare`` on the small text; exit code, output and messages."""

    def call(*arguments: str | Path, short: bool = True) -> tuple[int, str, str]:
        size = ["--tokens", "100", "--length", "32", "--text", text, "--reference", folder] if short else []
        code = main(list(map(str, ["compare", *size, *arguments])))
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def files(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the reference and of its version with int8 weights."""
    path, generator = tmp_path_factory.mktemp("files"), torch.Generator().manual_seed(2)
    tokens = torch.randint(CLASSES, (4, 12), generator=generator)
    models = {"base": reference, "int8": round_weights(reference, 8)}
    return [logits_file(path / f"{name}.bin", model, tokens) for name, model in models.items()]
