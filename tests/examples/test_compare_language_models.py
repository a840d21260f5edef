"""The example that compares two language models."""

import importlib.util
from pathlib import Path

import pytest
import torch

from tests.support import ROOT
from tests.support.small_models import save_tokenizer, small_model


def test_the_example_prints_the_report_of_two_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / "compare_language_models.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    model = small_model()
    save_tokenizer(tmp_path / "p")
    model.save_pretrained(tmp_path / "p")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.1)
    model.save_pretrained(tmp_path / "q")
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 8, encoding="utf-8")
    example.main(str(tmp_path / "p"), str(tmp_path / "q"), str(text))
    assert "254 rows in 2 sequences" in capsys.readouterr().out
