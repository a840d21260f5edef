"""The state of a report with targets has the same bits for any memory layout of its tensors."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from tests.support.backends import BACKENDS, use_backend
from torchdivergence import DivergenceReport

CLASSES = 11
SHAPE = 5, 9, CLASSES


def unaligned(x: Tensor) -> Tensor:
    """A copy one byte after an aligned address."""
    memory = bytearray(b"\0" + bytes(x.contiguous().flatten().view(torch.uint8).tolist()))
    return torch.frombuffer(memory, dtype=x.dtype, offset=1).view(x.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "classes not adjacent": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every second number": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "rows with a gap": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "texts and tokens swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "unaligned": unaligned,
    "negative view": lambda x: torch._neg_view(-x),
}
FLOATS = torch.float64, torch.float32, torch.bfloat16, torch.float16
DTYPES = [*((dtype, True) for dtype in FLOATS), *((dtype, False) for dtype in (*FLOATS, torch.int64, torch.uint8))]


def tensors(dtype: torch.dtype, is_log: bool) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, *SHAPE, generator=generator)
    p, q = (logits if is_log else (logits.exp() * 9).ceil().clamp(max=255)).to(dtype)
    target = torch.randint(0, CLASSES, SHAPE[:2], generator=generator)
    return {"p": p, "q": q, "target": target, "weights": torch.rand(SHAPE[:2], generator=generator).double()}


def state(is_log: bool, given: dict[str, Tensor]) -> Tensor:
    report = DivergenceReport(log_prob=is_log, top_k=(1, 3), keep_sequences=True, worst=5)
    report.update(**given)
    return report.current_state


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "is_log"), DTYPES, ids=str)
def test_the_state_has_the_same_bits_in_any_memory_layout(backend: str, dtype: torch.dtype, is_log: bool) -> None:
    given = tensors(dtype, is_log)
    with use_backend(backend):
        expected = state(is_log, given)
        for (layout, change), names in product(LAYOUTS.items(), [("p",), ("q", "target", "weights")]):
            found = state(is_log, given | {name: change(given[name]) for name in names})
            assert torch.equal(found, expected), (layout, names)


@pytest.mark.parametrize("backend", BACKENDS)
def test_expanded_tensors_have_the_bits_of_repeated_ones(backend: str) -> None:
    given = tensors(torch.float32, True)
    with use_backend(backend):
        for name, x in given.items():
            for one in (x[:1], x[:, :1], x[..., :1]):
                expanded = one.expand_as(x)
                found, expected = (state(True, given | {name: y}) for y in (expanded, expanded.contiguous()))
                assert torch.equal(found, expected), (name, expanded.stride())
