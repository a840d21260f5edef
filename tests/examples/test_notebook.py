"""The notebook runs from a clean kernel, and its stored outputs are those of the run."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.notebook import METADATA, execute, read


def outputs(notebook: Any) -> list[list[Any]]:
    """What each code cell printed, and the types of the other outputs; pixels depend on fonts and versions."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[(x.name, x.text) if x.output_type == "stream" else sorted(x.data) for x in cell.outputs] for cell in cells]


@pytest.fixture(scope="module")
def stored() -> Any:
    return read()


def test_a_clean_kernel_gives_the_stored_outputs_and_leaves_no_files(stored: Any, tmp_path: Path) -> None:
    assert outputs(execute(stored, tmp_path)) == outputs(stored), "after a change, run: make notebook"
    assert not list(tmp_path.iterdir())


def test_the_stored_outputs_have_pictures_and_neither_warnings_nor_errors(stored: Any) -> None:
    found = [output for cell in outputs(stored) for output in cell]
    printed = [output for output in found if isinstance(output, tuple)]
    pictures = [output for output in found if "image/png" in output]
    assert len(printed) + len(pictures) == len(found)
    assert {name for name, _ in printed} == {"stdout"}
    assert len(pictures) == 4


def test_the_notebook_stores_only_the_metadata_that_it_needs(stored: Any) -> None:
    nbformat.validate(stored)
    assert stored.metadata == METADATA
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(cell.metadata for cell in stored.cells)
