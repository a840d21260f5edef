"""The example that compares two language models."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.support import ROOT
from tests.support.small_models import save_tokenizer, small_model


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Path) -> None:
    example = str(ROOT / "examples" / "compare_language_models.py")
    monkeypatch.setattr(sys, "argv", [example, *map(str, arguments)])
    runpy.run_path(example, run_name="__main__")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    p, q = (tmp_path_factory.mktemp("models") / name for name in "pq")
    model = small_model()
    save_tokenizer(p)
    model.save_pretrained(p)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.1)
    model.save_pretrained(q)
    return p, q


def test_the_example_prints_the_report_of_two_models(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 8, encoding="utf-8")
    run(monkeypatch, *models, text)
    assert "254 rows in 2 sequences" in capsys.readouterr().out


def test_the_example_refuses_a_short_text(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox.", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"has 20 tokens, but a sequence has 128: give a longer text"):
        run(monkeypatch, *models, text)


def test_the_example_says_how_to_call_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="REFERENCE CANDIDATE TEXT"):
        run(monkeypatch)
