"""What an import costs, and that the built wheel is the package."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT

USE = """
import torch, torchdivergence
metric = torchdivergence.KLDivergence()
metric.update(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]]))
"""


def python(code: str, *path: Path, flags: str = "-I") -> str:
    """What a fresh interpreter prints; warnings are errors, and nothing of this process reaches it."""
    start = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n"
    command = [sys.executable, flags, "-W", "error", "-c", start + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.strip()


def test_an_import_adds_only_the_package_and_the_standard_library_to_what_torchmetrics_imports() -> None:
    added = python(
        """
import torchmetrics
before = set(sys.modules)
import torchdivergence, torchdivergence.functional
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)
""",
        ROOT / "src",
    )
    assert added.split() == ["torchdivergence"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The installed packages without lightning and matplotlib, as a folder of links."""
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name.split("-")[0] not in ("lightning", "pytorch_lightning", "matplotlib", "__pycache__"):
            (tmp_path / package.name).symlink_to(package)
    return tmp_path


def test_the_package_works_without_lightning_and_matplotlib_and_says_what_plot_needs(bare: Path) -> None:
    code = f"""
{USE}
print(metric.compute().item())
# nor is the compiler imported, which takes a second
assert not {{"lightning", "pytorch_lightning", "matplotlib", "torch._dynamo"}} & set(sys.modules)
try:
    metric.plot()
except ModuleNotFoundError as error:
    print(error)
"""
    value, error = python(code, ROOT / "src", bare, flags="-IS").split("\n", 1)
    assert float(value) == pytest.approx(0.143841, abs=1e-6)
    assert "matplotlib" in error


def run(*command: str | Path, cwd: Path) -> None:
    subprocess.run([sys.executable, *map(str, command)], cwd=cwd, check=True, timeout=240)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the package was installed: from a wheel, built from what the archive of sources holds."""
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


def test_the_wheel_works_where_it_is_installed(installed: Path) -> None:
    file, value = python(f"{USE}\nprint(torchdivergence.__file__, metric.compute().item())", installed).split()
    assert Path(file).is_relative_to(installed)
    assert float(value) == pytest.approx(0.143841, abs=1e-6)


def test_the_wheel_holds_every_source_file_and_the_marker_of_types(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}

    sources = {p for p in files(ROOT / "src" / "torchdivergence") if p.suffix not in {".c", ".h"}}
    assert files(installed / "torchdivergence") == sources
    assert (installed / "torchdivergence" / "py.typed").is_file()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler")
def test_the_wheel_holds_the_compiled_rows(installed: Path) -> None:
    code = "import torch; from torchdivergence import _native; print(_native.__file__)"
    assert Path(python(code, installed)).is_relative_to(installed)


def test_without_the_compiled_rows_the_package_works() -> None:
    blocked = "import sys; sys.modules['torchdivergence._native'] = None"
    assert float(python(f"{blocked}\n{USE}\nprint(metric.compute().item())")) == pytest.approx(0.143841, abs=1e-6)
