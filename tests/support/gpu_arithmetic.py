"""Triton's interpreter with the arithmetic of a GPU, which rounds some operations better and some worse than NumPy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from triton.runtime import interpreter

Numbers = npt.NDArray[Any]
EXP2_ERROR = 2.0**-22.5
"""The largest relative error of ``ex2.approx.ftz.f32``, by NVIDIA's description of the instruction."""
DIVISION_ERROR = 2.0**-23
"""That of ``div.full.f32``, in numbers: two units in the last place."""


@contextmanager
def arithmetic_of_a_gpu() -> Iterator[None]:
    """Fused multiply-adds round once; powers of two and quotients in float32 are off by up to what hardware may be."""
    builder = interpreter.InterpreterBuilder
    handle = interpreter.TensorHandle
    divide: Callable[..., Any] = builder.create_fdiv

    def create_fma(_: Any, x: Any, y: Any, z: Any) -> Any:
        wide = np.longdouble if x.data.dtype == np.float64 else np.float64
        total = x.data.astype(wide) * y.data.astype(wide) + z.data.astype(wide)
        return handle(total.astype(x.data.dtype), x.dtype.scalar)

    def create_exp2(_: Any, x: Any) -> Any:
        power = np.exp2(x.data.astype(np.float64))
        if x.data.dtype == np.float32:
            power = np.where(x.data == np.floor(x.data), power, power * (1 + EXP2_ERROR * _noise(x.data)))
            power = np.where(power < 2.0**-126, 0, power)
        return handle(power.astype(x.data.dtype), x.dtype.scalar)

    def create_fdiv(self: Any, x: Any, y: Any) -> Any:
        quotient = divide(self, x, y)
        if quotient.data.dtype == np.float32:
            quotient.data *= np.float32(1) + np.float32(DIVISION_ERROR) * np.round(_noise(x.data)).astype(np.float32)
        return quotient

    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        for replacement in (create_fma, create_exp2, create_fdiv):
            patch.setattr(builder, replacement.__name__, replacement)
        yield


def _noise(x: Numbers) -> Numbers:
    """Numbers between -1 and 1 that depend on the bits of x alone."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((bits * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)).astype(np.float64) / 2**23 - 1
