"""What an import of the package loads, and what the package works without."""

import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.interpreter import USE, python


def test_beyond_torchmetrics_an_import_loads_only_the_package_and_the_standard_library() -> None:
    added = python(
        """
import torchmetrics
before = set(sys.modules)
import torchdivergence, torchdivergence.functional
assert "torchdivergence._command" not in sys.modules
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)
""",
        ROOT / "src",
    )
    assert added.split() == ["torchdivergence"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with links to the installed packages except lightning and matplotlib."""
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name.split("-")[0] not in ("lightning", "pytorch_lightning", "matplotlib", "__pycache__"):
            (tmp_path / package.name).symlink_to(package)
    return tmp_path


def test_without_lightning_and_matplotlib_only_plot_raises(bare: Path) -> None:
    code = f"""
{USE}
print(metric.compute().item())
# importing the compiler takes a second
assert not {{"lightning", "pytorch_lightning", "matplotlib", "torch._dynamo"}} & set(sys.modules)
try:
    metric.plot()
except ModuleNotFoundError as error:
    print(error)
"""
    value, error = python(code, ROOT / "src", bare, flags="-IS").split("\n", 1)
    assert float(value) == pytest.approx(0.143841, abs=1e-6)
    assert "matplotlib" in error


def test_the_package_works_without_the_native_extension() -> None:
    blocked = "import sys; sys.modules['torchdivergence._native'] = None"
    assert float(python(f"{blocked}\n{USE}\nprint(metric.compute().item())")) == pytest.approx(0.143841, abs=1e-6)
