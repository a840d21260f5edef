"""The result of a comparison as JSON, described by ``docs/schema/comparison-1.json``."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torchdivergence
from torchdivergence._command.evaluation import Evaluation
from torchdivergence._command.setup import Setup, short_name
from torchdivergence._command.tables import located_worst
from torchdivergence._command.texts import Text
from torchdivergence._report.comparison import PairedComparison
from torchdivergence._report.named_values import COUNTS, ERRORS, estimate_names, finite
from torchdivergence.report import DivergenceReport

VERSION = 1
_IN_NATS = ("kl_", "log_perplexity_ratio")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that compute the values."""
    found = {"torchdivergence": torchdivergence.__version__, "python": platform.python_version()}
    for package in ("torch", "torchmetrics", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def document(setup: Setup, evaluations: Iterable[Evaluation], confidence: float) -> dict[str, Any]:
    """All results except paired comparisons and the decision of the gate."""
    return {
        "schema": "torchdivergence/comparison",
        "version": VERSION,
        "direction": "KL(p‖q): p is the reference, q the candidate",
        "versions": versions(),
        "confidence": confidence,
        "tokens": tokens(setup),
        "reference": {"name": short_name(setup.name), "dtype": setup.reference.dtype},
        "candidates": [_candidate(evaluation, setup.text) for evaluation in evaluations],
    }


def tokens(setup: Setup) -> dict[str, Any]:
    """The tokens on which the models are compared."""
    sequences, length = setup.text.tokens.shape
    return {
        "text": short_name(setup.text.name),
        "sha256": setup.text.sha256(),
        "sequences": sequences,
        "length": length,
        "scored_from": setup.text.scored_from,
    }


def _candidate(evaluation: Evaluation, text: Text) -> dict[str, Any]:
    values = evaluation.report.to_dict()
    return {
        "name": evaluation.name,
        "dtype": evaluation.dtype,
        "logits_dtype": evaluation.logits_dtype,
        "complete": evaluation.complete,
        "counts": {name: int(values[name]) for name in COUNTS},
        "values": structured(evaluation.report),
        "worst": [
            {"divergence": finite(row.divergence), "sequence": sequence, "token": token, "target": row.target}
            for row, sequence, token in located_worst(evaluation, text)
        ],
    }


def structured(report: DivergenceReport) -> dict[str, dict[str, Any]]:
    """Each value with its unit, and with its errors and interval, or with whether it is rough."""
    values, rough, found = report.to_dict(), set(report.rough_values()), dict[str, dict[str, Any]]()
    belonging = {name for value in values for name in _names(value)[1:]}
    for name, value in values.items():
        if name in COUNTS or name in belonging:
            continue
        entry: dict[str, Any] = {"value": finite(value), "unit": "nats" if name.startswith(_IN_NATS) else "1"}
        if set(_names(name)) <= set(values):
            entry |= {key: finite(values[long]) for key, long in zip(ERRORS, _names(name)[1:], strict=True)}
        elif name in rough:
            entry["rough"] = True
        found[name] = entry
    return found


def _names(value: str) -> list[str]:
    return estimate_names(value, "kl_" if value == "kl_mean" else None)


def comparison(pair: PairedComparison) -> dict[str, Any]:
    """A paired comparison, with an object for each mean."""
    means = {}
    for name, difference in pair.differences.items():
        numbers = difference._asdict()
        numbers["sequences_needed"] = numbers.pop("texts_needed")
        means[name] = {key: finite(x) for key, x in numbers.items()}
    return {
        "a": pair.labels[0],
        "b": pair.labels[1],
        "sequences": pair.sequences,
        "confidence": pair.confidence,
        "power": pair.power,
        "means": means,
    }


def metadata(setup: Setup, evaluation: Evaluation) -> Mapping[str, str]:
    """The metadata of a saved report."""
    about = tokens(setup)
    return {
        "reference": short_name(setup.name),
        "candidate": evaluation.name,
        "complete": str(evaluation.complete).lower(),
        **{f"tokens_{key}": str(value) for key, value in about.items()},
        **{f"version_{key}": value for key, value in versions().items()},
    }
