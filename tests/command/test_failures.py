"""What stays of a comparison that fails, and what the command says about the failure."""

import json
from pathlib import Path
from typing import Any

import pytest

from torchdivergence.__main__ import main
from torchdivergence._command import rounding

pytestmark = pytest.mark.usefixtures("one_thread")


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
