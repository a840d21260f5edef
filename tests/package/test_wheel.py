"""The built wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.interpreter import USE, python


def run(*command: str | Path, cwd: Path) -> None:
    subprocess.run([sys.executable, *map(str, command)], cwd=cwd, check=True, timeout=240)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the package installed from a wheel that is built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    shutil.copytree(ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, sources)
    run("-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})", cwd=sources)
    (archive,) = folder.glob("*.tar.gz")
    offline = "-q", "--no-deps", "--no-index"
    run("-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", folder, archive, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run("-m", "pip", "install", *offline, "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def test_the_installed_wheel_works(installed: Path) -> None:
    file, value = python(f"{USE}\nprint(torchdivergence.__file__, metric.compute().item())", installed).split()
    assert Path(file).is_relative_to(installed)
    assert float(value) == pytest.approx(0.143841, abs=1e-6)


def test_the_wheel_contains_every_source_file_and_py_typed(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    sources = {p for p in files(ROOT / "src" / "torchdivergence") if p.suffix not in {".c", ".h"}}
    assert files(installed / "torchdivergence") == sources
    assert (installed / "torchdivergence" / "py.typed").is_file()


@pytest.mark.skipif(sys.platform == "darwin", reason="Apple's compiler has no OpenMP")
@pytest.mark.skipif(shutil.which(os.environ.get("CC", "gcc")) is None, reason="needs a compiler")
def test_the_wheel_contains_the_native_extension(installed: Path) -> None:
    code = "import torch; from torchdivergence import _native; print(_native.__file__)"
    assert Path(python(code, installed)).is_relative_to(installed)
