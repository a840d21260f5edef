"""The measurements on a GPU, on the CPU with a clock that stands still: what is called, and the tables."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from benchmarks import cuda_calls, roofline
from benchmarks.contestants import COMPILED, LIGER, OURS, READ, TORCH, TORCHMETRICS, torch_kl
from benchmarks.cuda import MIB, Line, Meter, panels, race, tables
from benchmarks.cuda_calls import BACKWARD, FORWARD, REPORT, UPDATE, Case, calls, fit, grid
from benchmarks.timing import Call
from tests.support.definitions import distribution, kl

pytest.importorskip("triton")

SHAPES = [Case(3, 10, torch.float32), Case(2, 1100, torch.bfloat16), Case(1, 11, torch.float16)]
SECONDS, BYTES = 2e-3, 5 * MIB


@pytest.fixture(autouse=True)
def _contestants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not here: one that is compiled, and Liger, whose function has the arguments of torch's."""
    monkeypatch.setattr(cuda_calls, "compiled", lambda: {COMPILED: torch_kl})
    functional = SimpleNamespace(liger_kl_div=kl_div)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", functional)


def clock(call: Call, _: int) -> float:
    call()
    return SECONDS


def peak(call: Call) -> int:
    call()
    return BYTES


def truths(p: Tensor, q: Tensor) -> Tensor:
    pairs = zip(p, q, strict=True)
    return torch.tensor([float(kl(distribution(x, True), distribution(y, True))) for x, y in pairs])


def test_every_contestant_computes_the_divergence_and_its_gradient() -> None:
    case = SHAPES[0]
    p, q = case.inputs("cpu")
    expected, steps = truths(p, q), calls(case, "cpu")
    assert set(steps[BACKWARD]) == {OURS, TORCH, TORCHMETRICS, COMPILED, LIGER} == set(steps[FORWARD]) - {READ}
    for name in steps[BACKWARD]:
        value, grad = (steps[step][name]() for step in (FORWARD, BACKWARD))
        assert isinstance(value, Tensor)
        torch.testing.assert_close(value.float().sum(), expected.sum(), rtol=1e-4, atol=0)
        torch.testing.assert_close(grad, q.softmax(-1) - p.softmax(-1), rtol=1e-3, atol=1e-6)


def updated(call: Any) -> Any:
    """The metric after the call that updates it."""
    call()
    return call.args[0]


def test_every_update_takes_all_rows() -> None:
    case = SHAPES[0]
    expected, steps = truths(*case.inputs("cpu")).mean(), calls(case, "cpu")
    for name in (OURS, TORCHMETRICS):
        torch.testing.assert_close(updated(steps[UPDATE][name]).compute().float(), expected, rtol=1e-4, atol=0)
    report = updated(steps[REPORT][OURS]).compute()
    assert report["rows"] == case.rows and report["accuracy_p"] == 1
    assert float(report["kl_mean"]) == pytest.approx(float(expected), rel=1e-6)


def test_repeated_rows_have_the_shape_and_dtype_of_the_case() -> None:
    for case in (Case(1, 3, torch.float16), Case(130, 3, torch.bfloat16)):
        for x in case.inputs("cpu"):
            assert (*x.shape, x.dtype) == case and x.is_contiguous() and x.nbytes == case.input_bytes


def lines() -> list[Line]:
    return [line for case in SHAPES for line in race(case, Meter("cpu", clock, peak), 1, "sm_90")]


def test_the_tables_have_every_time_beside_that_of_the_model() -> None:
    found = lines()
    assert [(line.case, line.step) for line in found] == [
        (case, step) for case in SHAPES for step in (FORWARD, BACKWARD, UPDATE, REPORT)
    ]
    titles, texts = tables(found)[::2], tables(found)[1::2]
    by_title = dict(zip(titles, texts, strict=True))
    assert len(by_title) == len(found)  # every case has a dtype of its own
    for line in found:
        *_, row = by_title[f"**{line.step}, {line.case.dtype_name}**"].splitlines()
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[: 1 + len(line.times)] == [line.case.shape_name, *["2.00 ms, 5 MiB"] * len(line.times)]
        if line.modelled > 0:
            expected = SECONDS / line.modelled
            assert float(cells[-1].removesuffix("x").replace(",", "")) == pytest.approx(expected, rel=0.01)
    modelled = [(line.case, line.step) for line in found if line.modelled > 0]
    assert modelled == [(case, step) for case in SHAPES[:2] for step in (FORWARD, UPDATE, REPORT)]  # as was counted
    by_size = sorted(SHAPES, key=lambda case: case.input_bytes)
    assert [panel.title for panel in panels(found)] == [f"{case}, CUDA" for case in by_size]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("terms", ["KL", "all terms"])
def test_the_modelled_time_grows_with_the_rows_and_is_at_least_that_of_a_reading(
    dtype: torch.dtype, terms: str
) -> None:
    for architecture, gpu in roofline.GPUS.items():
        for classes in (10, 1000, 32_000):
            one, many = (roofline.seconds(rows, classes, dtype, terms, architecture) for rows in (1, 1000))
            assert many == pytest.approx(1000 * one, rel=1e-12)
            assert one >= 2 * classes * dtype.itemsize / gpu.bandwidth * (1 - 1e-12)
            assert one < roofline.seconds(1, 200_000, dtype, terms, architecture)


def test_the_model_of_a_newer_gpu_is_that_of_the_last_one_that_was_counted() -> None:
    found = [roofline.architecture_of(x) for x in [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)]]
    assert found == ["sm_80", "sm_80", "sm_80", "sm_90", "sm_100", "sm_100"]


def test_cases_that_do_not_fit_into_the_memory_are_left_out() -> None:
    cases = grid(quick=False)
    assert {case.rows for case in cases} >= {1, 8192} and {case.classes for case in cases} >= {10, 262_144}
    fitting, others = fit(cases, 80 * 10**9)
    assert sorted(map(str, [*fitting, *others])) == sorted(map(str, cases))
    assert max(case.input_bytes for case in fitting) < 80e9 / 5 and others
    assert fit(grid(quick=True), 24 * 10**9) == (grid(quick=True), [])
