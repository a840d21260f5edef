"""Runs the code of the documents: the Python blocks of the Markdown files and the doctests of the package."""

import os
from doctest import ELLIPSIS

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads anything

pytest_collect_file = (
    Sybil(
        parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)],
        patterns=["README.md", "docs/*.md"],
    )
    + Sybil(
        parsers=[DocTestParser(optionflags=ELLIPSIS)],
        patterns=["src/*/*.py", "src/*/*/*.py"],
    )
).pytest()
