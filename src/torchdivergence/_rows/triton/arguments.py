"""Arguments with which the kernels of rows are launched."""

import torch
import triton

SHORT = 1024
"""The most classes of a row that a program keeps in registers, together with others."""
_PROGRAM = 1024
"""Numbers a program of short rows."""


def short_program(classes: int) -> tuple[dict[str, int], dict[str, int | bool]]:
    """Rows and numbers a row of a program of short rows, and the options of its compilation."""
    size = max(2, triton.next_power_of_2(classes))
    return {"R": _PROGRAM // size, "N": size}, {"num_warps": _PROGRAM // 256, "enable_fp_fusion": False}


def as_float32(x: float) -> float:
    """The number as a kernel gets it; the interpreter does not round it."""
    return torch.tensor(x, dtype=torch.float32, device="cpu").item()
