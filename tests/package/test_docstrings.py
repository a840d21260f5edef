"""The docstrings of all public names: their examples run, and each divergence states its own accuracy only."""

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

import torchdivergence
from torchdivergence import functional, report
from torchdivergence._divergences import SPECS

PUBLIC: dict[str, Any] = {name: getattr(torchdivergence, name) for name in torchdivergence.__all__}
PUBLIC |= {name: getattr(functional, name) for name in functional.__all__}


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    assert example.examples
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.failed == 0 and results.attempted == len(example.examples)


def test_the_api_page_has_what_a_report_returns() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for name in set(report.__all__) - {"DivergenceReport"}:
        assert f".. autoclass:: torchdivergence.report.{name}\n" in page


@pytest.mark.parametrize("name", SPECS)
def test_a_docstring_has_the_facts_of_its_declaration(name: str) -> None:
    spec = SPECS[name]
    for documented in (getattr(functional, name), getattr(torchdivergence, spec.metric)):
        lines = (inspect.getdoc(documented) or "").splitlines()
        text = " ".join(" ".join(lines).split())
        assert lines[0] == spec.summary
        assert spec.formula in text and spec.source in text
        assert ("2 for bits" in text) == spec.has_log_unit
        assert max(len(line) for line in lines if ".. math" not in line) <= 120
    accuracy = " ".join((inspect.getdoc(getattr(functional, name)) or "").split())
    assert f"if the value is at least {spec.accuracy.float64_floor:g}" in accuracy
    assert ("digits are lost" in accuracy) == spec.accuracy.powers
