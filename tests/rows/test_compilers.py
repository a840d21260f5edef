"""The native kernels have the same bits with every compiler, at every level of optimization, on every processor."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support import ROOT
from tests.support.backends import HAS_NATIVE, native
from torchdivergence._extension import native as extension

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="the native extension is not built")

# A compiler with its options, and the program that runs what it compiles for another processor. Those that are not
# installed are skipped. The extension itself is compiled with -O3, for AVX2 and AVX-512.
COMPILERS = {
    "gcc -O0": "",
    "gcc -O2": "",
    "clang -O3": "",
    "musl-gcc -static -O2": "",
    "aarch64-linux-gnu-gcc -static -O2": "qemu-aarch64",
}
DIGEST = "fecc63b1d9bb06f22587df7daf352f26dbe5ce7810fb07878b133a4c8e97e7dc"
PARAMETER = 0.3


def cases() -> Iterator[tuple[Tensor, Tensor, bool, float]]:
    """p and q, whether they are logarithmic, and the temperature. All come from integers, the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    for dtype, classes, is_log in product(native.DTYPE_CODES, (1, 2, 7, 200, 3000), (True, False)):
        p = 20 * torch.rand(4 + 10_000 // classes, classes, generator=generator, dtype=torch.float64)
        noise = torch.rand(p.shape, generator=generator, dtype=torch.float64) - 0.5
        q = p + noise if is_log else p + p * noise
        yield p.to(dtype), q.to(dtype), is_log, 2.5 if is_log and classes == 7 else 1.0


def of_extension(p: Tensor, q: Tensor, is_log: bool, temperature: float) -> bytes:
    terms = len(native.TERM_CODES)
    out = torch.empty(terms, len(p), dtype=torch.float64)
    a, b = ((x.data_ptr(), native.DTYPE_CODES[x.dtype], is_log, (x.shape[1],)) for x in (p, q))
    requests = tuple((term, PARAMETER) for term in range(terms))
    extension.term_sums(a, b, (len(p),), p.shape[1], temperature, requests, out.data_ptr(), 1)
    return out.numpy().tobytes()


def of_program(command: list[str], p: Tensor, q: Tensor, is_log: bool, temperature: float) -> bytes:
    arguments = native.DTYPE_CODES[p.dtype], int(is_log), *p.shape, temperature
    data = b"".join(x.view(torch.uint8).numpy().tobytes() for x in (p, q))
    return subprocess.run([*command, *map(str, arguments)], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_compiler_gives_the_bits_of_the_extension(compiler: str, tmp_path: Path) -> None:
    runner = COMPILERS[compiler].split()
    for program in (compiler.split()[0], *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    options = ["-ffp-contract=off", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{ROOT / 'src/native'}"]
    source, binary = ROOT / "tests/rows/write_term_sums.c", tmp_path / "write_term_sums"
    options += ["-Wl,-U,_GOMP_parallel"] if sys.platform == "darwin" else []  # the weak symbol of a missing runtime
    subprocess.run([*compiler.split(), *options, source, "-o", binary, "-lm"], check=True, timeout=120)
    for case in cases():
        assert of_program([*runner, str(binary)], *case) == of_extension(*case)


def test_the_bits_are_those_of_every_other_machine() -> None:
    digest = hashlib.sha256(b"".join(of_extension(*case) for case in cases())).hexdigest()
    assert digest == DIGEST, "the bits of the native kernels have changed: see CONTRIBUTING.md, Fix a wrong value"
