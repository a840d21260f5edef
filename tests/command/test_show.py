"""``torchdivergence show``: saved reports, alone and in pairs."""

from pathlib import Path

import pytest

from tests.support.command import Run
from torchdivergence.__main__ import main


def test_show_prints_a_saved_report_or_the_paired_comparison_of_two(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, printed, _ = run("--round", "int8", "int4", "--save-report", tmp_path)
    int8, int4 = (str(tmp_path / f"{kind}-weights.safetensors") for kind in ("int8", "int4"))
    assert main(["show", int8]) == 0
    assert capsys.readouterr().out.split("\n", 1)[1].strip() in printed
    assert main(["show", int8, int4]) == 0
    comparison = capsys.readouterr().out.split("=\n", 1)[1].strip()
    assert "3 pairs of sequences" in comparison and comparison in printed


def test_show_refuses_reports_of_different_texts_and_other_files(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--round", "int8", "--save-report", tmp_path / "a")
    (tmp_path / "text.txt").write_text("Another text. " * 10, encoding="utf-8")
    run("--round", "int8", "--save-report", tmp_path / "b", "--text", tmp_path / "text.txt")
    name = "int8-weights.safetensors"
    assert main(["show", str(tmp_path / "a" / name), str(tmp_path / "b" / name)]) == 3
    assert "cannot be compared: their tokens (sha256) differ" in capsys.readouterr().err
    for path, message in (
        (folder / "model.safetensors", "is not a saved report"),
        (tmp_path / "c", "there is no file"),
    ):
        assert main(["show", str(path)]) == 3
        assert message in capsys.readouterr().err
