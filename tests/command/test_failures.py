"""What stays of a comparison that fails, and what the command says about the failure."""

import json
import shutil
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Run, valid_json
from torchdivergence import DivergenceReport
from torchdivergence.__main__ import main
from torchdivergence._command import compare, rounding
from torchdivergence._command.sources import LogitsSource


@pytest.fixture
def arguments(folder: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A comparison of three sequences with two candidates."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    size = ["--text", str(text), "--tokens", "100", "--length", "32"]
    return ["compare", "--reference", str(folder), *size, "--round", "int8", "bfloat16"]


def candidates(path: Path) -> list[str]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [candidate["name"] for candidate in document["candidates"]]


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("shapes differ"), 3), (MemoryError(), 3), (KeyboardInterrupt(), 130)]
)
def test_candidates_that_are_done_are_written_when_the_next_one_fails(
    arguments: list[str], tmp_path: Path, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rounding, "to_bfloat16", fail)
    assert main([*arguments, "--json", str(tmp_path / "o.json")]) == code
    assert candidates(tmp_path / "o.json") == ["int8 weights"]


@pytest.mark.parametrize(("option", "path"), [("--json", "/proc/o.json"), ("--save-report", "/proc/sys")])
def test_a_file_that_cannot_be_made_is_refused_before_a_model_is_loaded(
    arguments: list[str], option: str, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "prepare", lambda *_: pytest.fail("the models were loaded"))
    assert main([*arguments, option, path]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot write {path}" in line


@pytest.mark.parametrize("existing", [None, "earlier"])
def test_a_comparison_that_cannot_run_leaves_its_output_as_it_was(
    arguments: list[str], tmp_path: Path, existing: str | None
) -> None:
    path = tmp_path / "o.json"
    if existing is not None:
        path.write_text(existing, encoding="utf-8")
    assert main([*arguments, "--length", "300", "--json", str(path)]) == 3
    assert (path.read_text(encoding="utf-8") if path.exists() else None) == existing


def test_a_full_disk_costs_only_the_files_on_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tmp_path / "card.md"
    assert main([*arguments, "--json", "/dev/full", "--model-index", str(card)]) == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith("cannot write /dev/full: No space left on device.")
    assert "int8 weights" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "code", "message"), [(BrokenPipeError(), 141, ""), (KeyboardInterrupt(), 130, "\nInterrupted.\n")]
)
def test_an_interrupt_after_the_reports_costs_no_file(
    arguments: list[str],
    tmp_path: Path,
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "o.json"
    monkeypatch.setattr(compare, "_print_together", fail)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main([*arguments, "--json", str(path)]) == code
    assert candidates(path) == ["int8 weights", "all in bfloat16"]
    assert capfd.readouterr().err == f"JSON: {path}\n{message}"


@pytest.mark.parametrize(("error", "code"), [(ImportError(), 3), (KeyboardInterrupt(), 130)])
def test_an_import_that_fails_does_not_look_like_a_decision(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torchdivergence._command.gate":
                raise error

    monkeypatch.delitem(sys.modules, "torchdivergence._command.gate", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    assert main(["gate", "--round", "int8", "--kl-below", "1"]) == code
    assert ("ImportError" if code == 3 else "Interrupted.") in capsys.readouterr().err


def test_show_refuses_reports_with_different_references(
    arguments: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for reference, reports in ((folder, "a"), (other, "b")):
        assert main([*arguments, "--reference", str(reference), "--save-report", str(tmp_path / reports)]) == 0
    capsys.readouterr()
    assert main(["show", *(str(tmp_path / x / "int8-weights.safetensors") for x in "ab")]) == 3
    printed = capsys.readouterr()
    assert not printed.out and "their references differ" in printed.err and "other" in printed.err


def test_ctrl_c_keeps_the_candidates_that_are_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounding, "to_bfloat16", interrupt)
    path = tmp_path / "o.json"
    code, printed, said = run("--round", "int8", "bfloat16", "int4", "--json", path)
    assert code == 130 and "int8 weights" in printed and "Done: int8 weights" in said and f"JSON: {path}" in said
    assert [c["name"] for c in valid_json(path)["candidates"]] == ["int8 weights"]


def test_ctrl_c_keeps_the_sequences_that_are_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LogitsSource.rows

    def rows(self: LogitsSource, batch: Any, text: Any, p: Any = None) -> Any:
        if batch.first == 2:
            raise KeyboardInterrupt
        return original(self, batch, text, p)

    monkeypatch.setattr(LogitsSource, "rows", rows)
    path = tmp_path / "o.json"
    code, printed, said = run("--round", "logits", "--json", path, "--save-report", tmp_path)
    assert code == 130 and "the first 2 sequences" in printed and "has 2 of 3 sequences" in said
    (found,) = valid_json(path)["candidates"]
    assert not found["complete"] and found["counts"]["sequences"] == 2
    (saved,) = tmp_path.glob("*.safetensors")
    assert DivergenceReport.load(saved).metadata["complete"] == "false"
