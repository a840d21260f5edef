"""``torchdivergence show``."""

import argparse
from pathlib import Path

from torchdivergence._command.errors import CommandError, require
from torchdivergence._command.exit_codes import DONE
from torchdivergence._command.tables import underlined
from torchdivergence.report import DivergenceReport

_SAME = {"reference": "references", "tokens_sha256": "tokens (sha256)"}
"""Metadata that must be the same in two reports, and what an error calls it."""


def show(options: argparse.Namespace) -> int:
    """Print a report, or the comparison of two."""
    require("safetensors")
    reports = [_load(path) for path in options.reports]
    if len(reports) == 1:
        (report,) = reports
        print(f"{_origin(report)}{report}")
        return DONE
    labels = [
        report.metadata.get("candidate", str(path)) for path, report in zip(options.reports, reports, strict=True)
    ]
    if labels[0] == labels[1]:
        labels = list(map(str, options.reports))
    for name, what in _SAME.items():
        found = [report.metadata.get(name) for report in reports]
        if found[0] != found[1] and None not in found:
            raise CommandError(f"{_both(options)}: their {what} differ, {found[0]} and {found[1]}.")
    for report in reports:
        print(_origin(report), end="")
    try:
        comparison = reports[0].compare(reports[1], labels=(labels[0], labels[1]))
    except ValueError as error:
        raise CommandError(f"{_both(options)}: {error}") from None
    print(f"{underlined(' and '.join(labels))}\n{comparison}")
    return DONE


def _both(options: argparse.Namespace) -> str:
    return f"{options.reports[0]} and {options.reports[1]} cannot be compared"


def _load(path: Path) -> DivergenceReport:
    if not path.is_file():
        raise CommandError(f"there is no file {path}.")
    try:
        return DivergenceReport.load(path)
    except Exception as error:
        raise CommandError(f"{path} is not a saved report: {error}") from error


def _origin(report: DivergenceReport) -> str:
    about = report.metadata
    if "candidate" not in about:
        return ""
    partial = "" if about.get("complete") == "true" else " (interrupted)"
    return (
        f"Reference p: {about['reference']}; candidate q: {about['candidate']}{partial}; text: {about['tokens_text']}\n"
    )
