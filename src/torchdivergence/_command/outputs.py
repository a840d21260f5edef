"""The files that a comparison writes. What cannot be written is found before the work begins."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchdivergence._command.errors import CommandError, require
from torchdivergence._command.evaluation import Evaluation
from torchdivergence._command.progress import note
from torchdivergence.report import DivergenceReport

_WRITERS = {"save_report": "safetensors", "model_index": "huggingface_hub"}
"""What needs another package, by the option."""


def check_outputs(options: argparse.Namespace) -> None:
    """Make the folders, and import what writes the files."""
    given = {name: path for name, path in vars(options).items() if path is not None}
    files = [given[name] for name in ("json", "plot", "model_index") if name in given]
    for path in files:
        if path.is_dir():
            raise CommandError(f"cannot write {path}: it is a folder.")
    for folder in [path.parent for path in files] + [given[name] for name in ("save_report",) if name in given]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"cannot make the folder {folder}: {error.strerror}.") from None
    if "plot" in given:
        _check_kind_of_plot(given["plot"])
    for name, package in _WRITERS.items():
        if name in given:
            require(package)


def _check_kind_of_plot(path: Path) -> None:
    kinds = require("matplotlib.backend_bases").FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise CommandError(f"cannot draw {path}: its name must end in .png, .svg, .pdf or another kind of picture.")


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
    evaluation.report.save(path, metadata)
    note(f"Report: {path}")
