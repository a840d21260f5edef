"""The source distribution and the wheels that are built from it, with and without a compiler."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.interpreter import USE, python

FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "src", "tests")
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md"),
    *("conftest.py", "constraints.txt", "constraints-oldest.txt", "pyproject.toml", "setup.py"),
    ".pre-commit-config.yaml",
)
BUILT = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", "_build", "_generated", "jupyter_execute")
OFFLINE = ("-q", "--no-deps", "--no-index")


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=os.environ | environment, check=True, timeout=240)


def build_wheel(archive: Path, folder: Path, **environment: str) -> Path:
    run(
        "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "-w", folder, archive, cwd=archive.parent, **environment
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is in the repository."""
    copy = tmp_path_factory.mktemp("sources")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=BUILT)
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def archive(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    folder = tmp_path_factory.mktemp("archive")
    run("-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})", cwd=sources)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the package installed from a wheel that is built from the source distribution."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(archive, tmp_path_factory.mktemp("wheel"))
    run("-m", "pip", "install", *OFFLINE, "--target", folder, wheel, cwd=folder)
    return folder


def files(folder: Path) -> set[Path]:
    return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def test_the_source_distribution_contains_all_that_its_tests_need(sources: Path, archive: Path) -> None:
    with tarfile.open(archive) as contents:
        found = {Path(*Path(member.name).parts[1:]) for member in contents if member.isfile()}
    wanted = {p for p in files(sources) if not p.match("*.egg-info/*")}
    assert len(wanted) > 200 and wanted <= found


def test_without_a_compiler_the_wheel_is_for_every_python_and_every_machine(archive: Path, tmp_path: Path) -> None:
    wheel = build_wheel(archive, tmp_path, CC="false")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as contents:
        found = {Path(name) for name in contents.namelist() if name.startswith("torchdivergence/")}
    assert found == {"torchdivergence" / p for p in files(ROOT / "src" / "torchdivergence") if p.suffix != ".so"}


def test_the_installed_wheel_works(installed: Path) -> None:
    file, value = python(f"{USE}\nprint(torchdivergence.__file__, metric.compute().item())", installed).split()
    assert Path(file).is_relative_to(installed)
    assert float(value) == pytest.approx(0.143841, abs=1e-6)


def test_the_wheel_contains_every_source_file_and_py_typed(installed: Path) -> None:
    sources = {p for p in files(ROOT / "src" / "torchdivergence") if p.suffix not in {".c", ".h"}}
    assert files(installed / "torchdivergence") == sources
    assert (installed / "torchdivergence" / "py.typed").is_file()


@pytest.mark.skipif(shutil.which(os.environ.get("CC", "gcc")) is None, reason="needs a compiler")
def test_the_wheel_contains_the_native_extension(installed: Path) -> None:
    code = "import torch; from torchdivergence import _native; print(_native.__file__)"
    assert Path(python(code, installed)).is_relative_to(installed)
