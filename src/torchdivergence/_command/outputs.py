"""The files that a comparison writes. Paths are tried before the models run, so that an unusable one costs no time."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torchdivergence._command.errors import CommandError, require
from torchdivergence._command.evaluation import Evaluation
from torchdivergence._command.progress import note
from torchdivergence.report import DivergenceReport

_WRITERS = {"save_report": "safetensors", "model_index": "huggingface_hub"}
"""The package that writes the file of an option."""


def check_outputs(options: argparse.Namespace) -> None:
    """Make the folders, open the files, and import the packages that write them."""
    given = {name: path for name, path in vars(options).items() if path is not None}
    files = [given[name] for name in ("json", "plot", "model_index") if name in given]
    if "plot" in given:
        _check_kind_of_plot(given["plot"])
    for name, package in _WRITERS.items():
        if name in given:
            require(package)
    for path in files:
        _make_folder(path.parent)
        _check_file(path)
    if "save_report" in given:
        _make_folder(given["save_report"])
        _check_file(given["save_report"] / ".torchdivergence")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {folder}: {error.strerror}.") from None


def _check_file(path: Path) -> None:
    """Open the file for writing; its content stays, and a file that was not there is removed."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}.") from None
    if not existed:
        path.unlink()


def _check_kind_of_plot(path: Path) -> None:
    kinds = require("matplotlib.backend_bases").FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise CommandError(f"cannot draw {path}: its name must end in .png, .svg, .pdf or another kind of picture.")


def write_each(writers: Mapping[Path, Callable[[Path], None]]) -> None:
    """Write each file. If one fails, the others are still written, and the error comes after them."""
    failures = []
    for path, write in writers.items():
        try:
            write(path)
        except OSError as error:
            failures.append(f"cannot write {path}: {error.strerror or error}")
    if failures:
        raise CommandError(f"{'; '.join(failures)}.")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    note(f"JSON: {path}")


def write_plot(path: Path, reports: Mapping[str, DivergenceReport]) -> None:
    """Draw all reports in one picture."""
    axes: Any = None
    for name, report in reports.items():
        figure, axes = report.plot(axes, label=name)
    figure.savefig(path, dpi=150)
    note(f"Plot: {path}")


def save_report(folder: Path, evaluation: Evaluation, metadata: Mapping[str, str]) -> None:
    """Save a report under the name of its candidate."""
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', evaluation.name).strip('-')}.safetensors"
    try:
        evaluation.report.save(path, metadata)
    except Exception as error:  # safetensors has an error of its own
        raise CommandError(f"cannot write {path}: {error}.") from error
    note(f"Report: {path}")
