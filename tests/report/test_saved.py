"""Reports in files: what was saved is loaded, and files of others are refused."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.reports import kept_report, texts
from torchdivergence import DivergenceReport
from torchdivergence._metrics.saved_metric import SavedMetric
from torchdivergence._states.part import FORMAT

P, Q, TARGET = texts()
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"keep_sequences": False, "worst": 0},
    "sequences": {"worst": 0},
    "all": {
        "log_prob": (True, False),
        "top_k": [3, 1],
        "num_classes": 29,
        "ignore_index": 4,
        "quantiles": [0.1, 0.5],
        "confidence": 0.9,
        "nan_policy": "omit",
        "worst": 3,
    },
    "temperature": {"temperature": 1 / 3, "num_classes": None},
}


def example(name: str) -> DivergenceReport:
    q = Q.softmax(-1) if name == "all" else Q
    return kept_report(P, q, TARGET.clamp(max=28), **SETTINGS[name])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_loaded_report_has_the_state_the_settings_and_the_metadata_of_the_saved_one(
    name: str, tmp_path: Path
) -> None:
    report, path, metadata = example(name), tmp_path / "a.safetensors", {"model": "größer", "": "{}"}
    report.save(path, metadata)
    loaded = DivergenceReport.load(path)
    assert torch.equal(loaded.current_state, report.current_state)
    assert loaded.settings == report.settings and loaded.metadata == metadata
    assert loaded.to_json() == report.to_json()
    loaded.update(P, Q.softmax(-1) if name == "all" else Q, TARGET.clamp(max=28))
    report.update(P, Q.softmax(-1) if name == "all" else Q, TARGET.clamp(max=28))
    assert loaded.to_json() == report.to_json()
    again = tmp_path / "b.safetensors"
    loaded.save(str(again))
    assert DivergenceReport.load(again).metadata == metadata


def test_a_loaded_report_is_compared_like_the_saved_one(tmp_path: Path) -> None:
    a, b = kept_report(P, Q, TARGET), kept_report(P, P + 0.5 * (Q - P), TARGET, batches=[[3, 0], [1, 5, 4, 2]])
    a.save(tmp_path / "a")
    b.save(tmp_path / "b")
    loaded = DivergenceReport.load(tmp_path / "a")
    assert loaded.compare(DivergenceReport.load(tmp_path / "b")).to_json() == a.compare(b).to_json()
    assert loaded.worst() == a.worst()


def test_every_argument_of_the_constructor_is_a_setting() -> None:
    import inspect

    parameters = inspect.signature(DivergenceReport).parameters
    assert DivergenceReport().settings.keys() == parameters.keys() - {"kwargs"}


def edited(**texts: str | None) -> Callable[[Path], None]:
    """A file whose strings were changed."""

    def edit(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = {**file.metadata(), **texts}
        save_file(load_file(path), path, {name: x for name, x in metadata.items() if x is not None})

    return edit


def renamed(path: Path) -> None:
    rewrite(path, lambda name: name.replace(f"_format{FORMAT}", f"_format{FORMAT + 1}"))


def rewrite(path: Path, rename: Callable[[str], str], cut: int | None = None) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({rename(name): x[:cut].clone() for name, x in load_file(path).items()}, path, metadata)


NOT_WRITTEN = r"was not written by DivergenceReport.save\(\), or is damaged"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tensors of a model": (
        lambda path: save_file({"w": torch.zeros(2)}, path),
        NOT_WRITTEN,
    ),
    "text": (lambda path: path.write_text("{}"), NOT_WRITTEN),
    "an empty file": (lambda path: path.write_bytes(b""), NOT_WRITTEN),
    "half a file": (lambda path: path.write_bytes(path.read_bytes()[:-8]), NOT_WRITTEN),
    "no settings": (edited(settings=None), NOT_WRITTEN),
    "no metadata": (edited(metadata=None), NOT_WRITTEN),
    "settings that are no JSON": (edited(settings="{"), "its settings or metadata are wrong"),
    "settings that are a list": (edited(settings="[1]"), "its settings or metadata are wrong"),
    "metadata that are a number": (edited(metadata="1"), "its settings or metadata are wrong"),
    "a wrong setting": (
        edited(settings=json.dumps(DivergenceReport().settings | {"confidence": 95})),
        "settings or metadata are wrong.*confidence must be above 0 and below 1",
    ),
    "settings of another report": (
        edited(settings=json.dumps(DivergenceReport().settings)),
        r"cannot be loaded: its state does not belong to its settings: the incoming states are \['",
    ),
    "a missing setting": (
        edited(settings=json.dumps({k: x for k, x in DivergenceReport().settings.items() if k != "top_k"})),
        r"the file has no settings \['top_k'\]",
    ),
    "another class": (edited(torchdivergence="KLDivergence"), NOT_WRITTEN),
    "another format": (
        renamed,
        f"cannot be loaded.*has format {FORMAT + 1}, and this version of torchdivergence reads",
    ),
    "a truncated state": (lambda path: rewrite(path, str, -1), "cannot be loaded.*it should be"),
    "another state": (lambda path: rewrite(path, lambda _: "x"), "cannot be loaded.*the incoming states are"),
    "an unknown setting": (edited(settings=json.dumps({"alpha": 2, "top_k": [1]})), r"has no settings \['alpha'\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_foreign_or_damaged_file_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.safetensors"
    example("sequences").save(path)
    spoil, text = REFUSED[name]
    spoil(path)
    with pytest.raises(ValueError, match=f"report.safetensors.*{text}"):
        DivergenceReport.load(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DivergenceReport.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        DivergenceReport.load(tmp_path)


def test_metadata_that_are_no_strings_are_refused(tmp_path: Path) -> None:
    given: list[Any] = [{"tokens": 5}, {5: "tokens"}, ["a"], "a"]
    for metadata in given:
        with pytest.raises(TypeError, match=f"must be strings by names, but got {re.escape(repr(metadata))}"):
            DivergenceReport().save(tmp_path / "a", metadata)
    assert not list(tmp_path.iterdir())


def test_without_safetensors_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for call in (SavedMetric.save, lambda report, path: report.load(path)):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'torchdivergence\[compare\]'"):
            call(DivergenceReport(), tmp_path / "a")
