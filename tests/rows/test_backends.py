"""The choice of a backend, and the handshake with the native extension."""

import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import torchdivergence as td
from torchdivergence import _backends, _extension
from torchdivergence._layout import EXPECTED
from torchdivergence.functional import kl_divergence

needs_native = pytest.mark.skipif(bool(_extension.missing), reason=_extension.missing)
P, Q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_there_are_three_backends_and_the_reference_is_always_available() -> None:
    status = td.backends()
    assert list(status) == ["native", "triton", "reference"]
    assert status["reference"] == "available"
    assert status["triton"] == "available" or not torch.cuda.is_available()


def test_a_missing_backend_has_a_reason_and_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_extension, "missing", "no compiler was found")
    assert td.backends()["native"] == "no compiler was found"
    with pytest.raises(RuntimeError, match="'native' is missing: no compiler"), td.use_backend("native"):
        pass


@needs_native
def test_a_chosen_backend_computes_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchdivergence._rows import native, reference

    calls: list[ModuleType] = []

    def recorded(module: ModuleType) -> Callable[..., Tensor]:
        term_sums = module.term_sums

        def record(*args: Any) -> Tensor:
            calls.append(module)
            return cast("Tensor", term_sums(*args))

        return record

    for module in (native, reference):
        monkeypatch.setattr(module, "term_sums", recorded(module))
    for name, module in {"auto": native, "native": native, "reference": reference}.items():
        with td.use_backend(name):
            kl_divergence(P, Q)
        assert calls.pop() is module and not calls


def test_choices_nest_and_end() -> None:
    assert _backends.selected() == "auto"
    with td.use_backend("reference"):
        with td.use_backend("auto"):
            assert _backends.selected() == "auto"
        assert _backends.selected() == "reference"
        with pytest.raises(ZeroDivisionError), td.use_backend("auto"):
            _ = 1 / 0
        assert _backends.selected() == "reference"
    assert _backends.selected() == "auto"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of 'auto', 'native', 'triton', 'reference', but got 'cuda'"):
        td.use_backend("cuda").__enter__()


@needs_native
def test_a_chosen_backend_that_does_not_support_a_call_raises_and_loses_nothing() -> None:
    metric = td.KLDivergence()
    metric.update(P, Q)
    before = metric.compute()
    with (
        td.use_backend("native"),
        pytest.raises(NotImplementedError, match=r"'native' does not support kl of torch\.int64"),
    ):
        metric.update(torch.tensor([1, 2]), torch.tensor([2, 1]))
    assert metric.compute() == before


@pytest.mark.parametrize("name", ["reference", "auto"])
def test_the_environment_chooses_for_the_process(name: str) -> None:
    code = "import torchdivergence._backends as b; print(b.selected())"
    assert run(code, TORCHDIVERGENCE_BACKEND=name).stdout.strip() == name


def test_a_wrong_name_in_the_environment_is_refused_at_import() -> None:
    result = run("import torchdivergence", TORCHDIVERGENCE_BACKEND="fast")
    assert "TORCHDIVERGENCE_BACKEND must be one of 'auto', " in result.stderr and result.returncode


WRONG: dict[str, Any] = {
    "interface": 1,
    "limb_bits": 27,
    "limbs": 80,
    "width": 83,
    "octaves": (-167, -40, 8, 137),
    "bin_bits": (5, 8),
    "bins": 32768,
    "columns": ("loss_p",),
    "dtypes": {"float64": 1, "float32": 0},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_extension_with_another_layout_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = SimpleNamespace(LAYOUT={**EXPECTED, name: WRONG[name]})
    monkeypatch.setitem(sys.modules, "torchdivergence._native", stale)
    native, reason, advice = _extension._load()
    assert native is None and f"another version ({name} is {WRONG[name]} instead of" in reason
    assert "pip install" in advice


def test_an_extension_from_before_the_handshake_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdivergence._native", SimpleNamespace())
    native, reason, _ = _extension._load()
    assert native is None and "interface is None instead of" in reason


def test_a_fitting_extension_is_used_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = SimpleNamespace(LAYOUT={**EXPECTED, "terms": ()})
    monkeypatch.setitem(sys.modules, "torchdivergence._native", fitting)
    assert _extension._load() == (fitting, "", "")


WITHOUT_NATIVE = """
import sys, warnings
sys.modules["torchdivergence._native"] = None
warnings.simplefilter("error")
import torch, torchdivergence  # a warning here would be an error
from torchdivergence.functional import kl_divergence
warnings.simplefilter("always")
for _ in range(2):
    kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
"""


def test_a_missing_extension_is_told_once_at_its_first_use_with_what_to_install() -> None:
    message = run(WITHOUT_NATIVE).stderr
    assert message.count("RuntimeWarning: the native extension was not built.") == 1
    assert (
        "install gcc or clang and the Python headers, then run in a checkout of torchdivergence: pip install" in message
    )


def test_the_reference_chosen_on_purpose_gives_no_warning() -> None:
    assert run(WITHOUT_NATIVE, TORCHDIVERGENCE_BACKEND="reference").stderr == ""
