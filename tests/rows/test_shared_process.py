"""Native code in a process that it shares with torch and other libraries: OpenMP runtimes, floating-point modes."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from tests.support import ROOT
from tests.support.backends import HAS_NATIVE, native, specs, use_backend
from tests.support.interpreter import python
from torchdivergence._states.superaccumulator import accumulate_, read, zeros

T = TypeVar("T")
LOGITS = (True, True)
TERMS = (*specs.KL.at().terms, *specs.JENSEN_SHANNON.at(0.5).terms)
TINY, SUBNORMAL = 2.0**-1074, [2.0**-1074, 3e-320, 2.0**-1022 - 2.0**-1074]
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="the native extension is not built")

COUNT_RUNTIMES_AND_THREADS = """
import os, torch
from torchdivergence.functional import kl_divergence

torch.set_num_threads(4)
count = lambda: len(os.listdir("/proc/self/task"))
p, q = torch.rand(2, 64, 5000)
before = count()
kl_divergence(p, q)
print(count() - before)
torch.exp(p.expand(4, 64, 5000).contiguous())
print(count() - before)
libraries = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print(sum(os.path.basename(path).startswith(("libgomp", "libomp", "libiomp")) for path in libraries))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@needs_native
def test_torch_and_native_code_share_one_openmp_runtime_and_its_threads() -> None:
    """The three threads that help the main thread are started once, by the native code, and used by torch."""
    assert python(COUNT_RUNTIMES_AND_THREADS, ROOT / "src").split() == ["3", "3", "1"]


def flushing(function: Callable[[], T]) -> T:
    """The result in a thread, and so with OpenMP threads of its own, that takes subnormal numbers for 0."""

    def run() -> T:
        assert torch.set_flush_denormal(True)
        result = function()
        assert torch.tensor(SUBNORMAL, dtype=torch.float64).mul(1.0).eq(0).all()  # the mode is left as it was
        return result

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(run).result()


@needs_native
@pytest.mark.parametrize("dtype", native.DTYPE_CODES)
def test_subnormal_shares_count_natively_in_every_mode(dtype: torch.dtype) -> None:
    p, q = torch.rand(2, 300, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    p[:, ::3] *= torch.finfo(dtype).smallest_normal
    q[:, ::2] *= torch.finfo(dtype).smallest_normal

    def sums() -> Tensor:
        logits, temperature = (p.double() * 1e307, q.double() * 1e307), 1e308  # whose inverse is subnormal
        found = (
            native.term_sums(p, q, (False, False), 1.0, TERMS),
            native.term_sums(*logits, LOGITS, temperature, TERMS),
        )
        return torch.cat(found)

    assert torch.equal(flushing(sums), sums())


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_subnormal_values_are_summed_exactly_in_every_mode(backend: str) -> None:
    values = torch.tensor([SUBNORMAL[:2], [0.0, TINY]], dtype=torch.float64)

    def sums() -> list[tuple[int, bytes]]:
        accumulators = torch.stack([zeros(), zeros()])
        with use_backend(backend):
            accumulate_(accumulators, values)
        totals = [read(x) for x in accumulators]
        return [(x.units, torch.tensor(x.value, dtype=torch.float64).numpy().tobytes()) for x in totals]

    assert flushing(sums) == sums()
    assert sums()[1][0] == 1
