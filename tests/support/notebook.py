"""Runs the notebook of the examples. ``make notebook`` runs this as a program, which stores the outputs in the file."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support import ROOT

NOTEBOOK = ROOT / "examples" / "kl_divergence_in_pytorch.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# tqdm asks for ipywidgets, which the notebook does not need
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: Any, folder: Path) -> Any:
    """The notebook with the outputs of a run from a clean kernel in this folder. An error in a cell is raised."""
    fresh = nbformat.from_dict(notebook)
    resources = {"metadata": {"path": folder}}
    client = NotebookClient(fresh, timeout=120, coalesce_streams=True, record_timing=False, resources=resources)
    client.execute(env=os.environ | ENVIRONMENT)
    fresh.metadata = METADATA
    return fresh


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        nbformat.write(execute(read(), Path(name)), NOTEBOOK)
