"""docs/guarantees.md names tests that exist."""

import ast
import re

import pytest

from tests.support import ROOT

TESTS = ROOT / "tests"
NAMED = sorted(set(re.findall(r"`(\w+/test_\w+\.py)::(test_\w+)`", (ROOT / "docs/guarantees.md").read_text("utf-8"))))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda x: x.removesuffix(".py"))
def test_a_test_named_in_the_guarantees_exists(file: str, name: str) -> None:
    functions = (x for x in ast.parse((TESTS / file).read_text("utf-8")).body if isinstance(x, ast.FunctionDef))
    assert name in {function.name for function in functions}


def test_the_guarantees_name_many_tests() -> None:
    assert len(NAMED) > 40
