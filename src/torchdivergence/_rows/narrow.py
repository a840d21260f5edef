"""Rows of narrow logits on the CPU: float32 and less, many classes.

The Kullback-Leibler divergence is the logarithm of a mean less the mean of a logarithm::

    D = log E_p[exp(e)] - E_p[e],    e = b - a

for log-weights a and b, and e may be shifted by any constant. So q is never made. And p, a mere weight in these
means, may be rounded to float32: each weight by a factor of 1 + 1e-7, hence D by that factor at most, as long as
the weights are divided by the sum of what they were rounded to. What cancels, e and exp(e) - 1 and all sums, is
float64.

Where this does not do, as p of some class underflows while its term counts, the row is left to ``eager``.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from torchdivergence._generators import KL, Generator
from torchdivergence._rows import eager
from torchdivergence._sums import row_sums

_CLASSES = 128  # rows of fewer are left to eager
_BLOCK = 1 << 18  # numbers in a block
_LOW, _HIGH = -4.0, 60.0  # where the top of a row may lie, so that exp() of all that counts is a normal float32
_FAR = 30.0  # the largest e for which that is so: further on, q may count where p has underflowed
_DEEP = -1e15  # the smallest: further on, the product of an underflowed p and e may count


def suits(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, generator: Generator) -> bool:
    """Whether these rows are for here; their number has no say in it."""
    narrow = p.dtype in eager.NARROW and q.dtype in eager.NARROW and all(log_prob)
    exact = temperature >= 1 and temperature.as_integer_ratio()[0].bit_count() == 1  # dividing by 2, 4, 8 is exact
    many = p.shape[-1] >= _CLASSES
    return narrow and exact and many and p.device.type == "cpu" and generator is KL


def divergence(p: Tensor, q: Tensor, temperature: float, generator: Generator) -> Tensor:
    """See :func:`torchdivergence._rows.divergence`."""
    values, classes = torch.empty(p.shape[:-1], dtype=torch.float64, device=p.device), p.shape[-1]
    size = max(classes, min(p.numel(), _BLOCK))
    dtypes = 3 * (torch.float32,) + 2 * (torch.float64,)
    memory = _Memory(*(torch.empty(size, dtype=dtype, device=p.device) for dtype in dtypes))
    for block in eager.blocks(p.shape, _BLOCK):
        rows = _Memory(*(x[: values[block].numel() * classes].view(-1, classes) for x in memory))
        a, b = _float32(p[block], rows.a), _float32(q[block], rows.b)
        d, sure = _compare(a, b, temperature, rows)
        if not sure.all():
            d[~sure] = eager.divergence(a[~sure], b[~sure], (True, True), temperature, generator)
        values[block] = d.view(values[block].shape)
    return values


class _Memory(NamedTuple):
    """What a block is worked on in, used again for each: fresh memory costs more than the arithmetic."""

    a: Tensor
    b: Tensor
    p: Tensor
    e: Tensor
    u: Tensor


def _float32(x: Tensor, memory: Tensor) -> Tensor:
    if x.dtype == torch.float32 and x.is_contiguous():
        return x.view(memory.shape)
    memory.view(x.shape).copy_(x)
    return memory


def _compare(a: Tensor, b: Tensor, temperature: float, memory: _Memory) -> tuple[Tensor, Tensor]:
    """D of each row, and whether it is right."""
    top_a, top_b = a.amax(-1, keepdim=True), b.amax(-1, keepdim=True)
    # a shift by a whole number, none if it can be: a number that counts loses no bit to it
    p = torch.sub(a, (top_a - top_a.clamp(_LOW, _HIGH)).floor_(), out=memory.p)
    e = memory.e.copy_(b).sub_(a).sub_(top_b.double() - top_a.double())
    if temperature != 1:
        p.div_(temperature)
        e.div_(temperature)
    mass = row_sums(memory.u.copy_(p.exp_()))
    sure = (e.amax(-1) <= _FAR) & (e.amin(-1) >= _DEEP)
    rise = row_sums(torch.expm1(e, out=memory.u).mul_(p)).div_(mass)
    d = rise.log1p_().sub_(row_sums(e.mul_(p)).div_(mass))
    return d.clamp_(min=0), sure & ~d.isnan()
