"""Rows of any floats there are, many at a time: wild ones, ordinary ones, and mixtures of both in one row."""

from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

FARTHEST = 1e290
Dtypes = tuple[torch.dtype, torch.dtype]
_BITS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
_SCALES = torch.tensor(
    [0.0, 1e-12, 1e-8, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0, 30.0, 300.0, 1e4], dtype=torch.float64
)
# where exp, its square and its products leave the numbers of float32 and float64, and what masks are made of
_MARKS = (0.0, -0.0, 1.0, -1.0, 0.5, -30.0, -87.4, -103.9, -708.3, -708.5, -745.0, -746.0, -1000.0, -1420.0, -1e30)


class Maker(NamedTuple):
    """Makes rows ``[rows, classes]``, the same ones for the same seed."""

    generator: torch.Generator
    shape: tuple[int, int]

    def pick(self, choices: Tensor, each: bool) -> Tensor:
        """One of some numbers for every class of every row, or for every row."""
        shape = self.shape if each else (self.shape[0], 1)
        return choices[torch.randint(len(choices), shape, generator=self.generator)]

    def chance(self, odds: float, each: bool = True) -> Tensor:
        shape = self.shape if each else (self.shape[0], 1)
        return torch.rand(shape, generator=self.generator) < odds

    def normal(self) -> Tensor:
        return torch.randn(self.shape, generator=self.generator, dtype=torch.float64)

    def bits(self, dtype: torch.dtype) -> Tensor:
        """Any pattern of bits: every float, subnormals and NaNs with payloads among them."""
        bits = torch.randint(-(2**63), 2**63 - 1, self.shape, generator=self.generator)
        return (bits >> (64 - 8 * dtype.itemsize)).to(_BITS[dtype]).view(dtype)

    def specials(self, dtype: torch.dtype) -> Tensor:
        info = torch.finfo(dtype)
        own = (info.max, info.min, info.tiny, info.smallest_normal * info.eps, info.eps, 1 + info.eps)
        return self.pick(torch.tensor([*_MARKS, *own, -inf], dtype=torch.float64), each=True)

    def side(self, dtype: torch.dtype, is_log: bool) -> Tensor:
        """Rows of a kind that each draws for itself."""
        ordinary = self.normal() * self.pick(_SCALES, each=False)
        if not is_log:
            ordinary = ordinary.exp()
            ordinary = torch.where(self.chance(0.5, each=False), ordinary, ordinary / ordinary.sum(-1, keepdim=True))
        ordinary = ordinary.to(dtype)
        wild = torch.where(self.chance(0.5, each=False), self.bits(dtype), self.specials(dtype).to(dtype))
        if not is_log:
            wild = wild.abs()  # most rows are to be valid
        much = self.pick(torch.tensor([0.0, 0.0, 0.1, 0.5, 1.0]), each=False)
        wild_here = torch.rand(self.shape, generator=self.generator) < much
        x = torch.where(wild_here, wild, ordinary)
        # a row that is invalid tells nothing more of the others: leave one of ten as it is
        bad = ~x.isfinite() & (x != -inf if is_log else torch.ones_like(x, dtype=torch.bool))
        return torch.where(bad & self.chance(0.9, each=False), ordinary, x)

    def pair(self, dtypes: Dtypes, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        """p and q: strangers, neighbours, equal, equal but for a class, or each other's classes in another order."""
        p, q = (self.side(dtype, is_log) for dtype, is_log in zip(dtypes, log_prob, strict=True))
        if log_prob[0] == log_prob[1]:
            same = p.to(dtypes[1])
        elif log_prob[0]:
            same = p.double().exp().to(dtypes[1])
        else:
            same = p.double().log().to(dtypes[1])
        noise = self.normal() * self.pick(_SCALES[1:9], each=False)
        near = (same.double() + noise if log_prob[1] else same.double() * (1 + noise.clamp(-1, 1))).to(dtypes[1])
        kinds = torch.stack([q, q, same, near, near, near, torch.where(self.chance(0.2), q, same), same.flip(-1)])
        kind = torch.randint(len(kinds), (self.shape[0],), generator=self.generator)
        q = kinds[kind, torch.arange(self.shape[0])]
        p, q = (tame(x) if is_log else x for x, is_log in zip((p, q), log_prob, strict=True))
        return self.spoil(p, log_prob[0]), self.spoil(q, log_prob[1])

    def spoil(self, x: Tensor, is_log: bool) -> Tensor:
        """One row of fifty gets a class that makes it invalid, and one of fifty has no mass at all."""
        bad = self.pick(torch.tensor([nan, -nan, inf, *(() if is_log else (-1.0, -1e-7, -inf))]), each=True).to(x.dtype)
        one = torch.arange(self.shape[1]) == torch.randint(self.shape[1], (self.shape[0], 1), generator=self.generator)
        x = torch.where(one & self.chance(0.02, each=False), bad, x)
        return x.masked_fill(self.chance(0.02, each=False), -inf if is_log else 0.0)


def pairs(seed: int, rows: int, classes: int, dtypes: Dtypes, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    return Maker(torch.Generator().manual_seed(seed), (rows, classes)).pair(dtypes, log_prob)


def tame(logits: Tensor) -> Tensor:
    """With float64 the differences of logits are no numbers of float64 at last, nor are they times a tiny share."""
    return torch.where(logits.isfinite(), logits.double().clamp(-FARTHEST, FARTHEST), logits.double()).to(logits.dtype)


def counts(seed: int, rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Integers from 0 to the largest there are, alike or not; some rows have none and some a negative one."""
    maker = Maker(torch.Generator().manual_seed(seed), (rows, classes))
    most = torch.iinfo(dtype).max
    sizes = torch.tensor([min(size, most) for size in (1, 2, 10, 1000, 2**31, 2**53, 2**63 - 1)], dtype=torch.float64)
    p, q = (torch.rand(rows, classes, generator=maker.generator, dtype=torch.float64) for _ in range(2))
    q = torch.where(maker.chance(0.5, each=False), q, p * (1 + maker.normal() * 1e-3).clamp(0, 1))
    p, q = ((x * maker.pick(sizes, each=False)).clamp(max=most * (1 - 2**-53)).to(dtype) for x in (p, q))
    p = torch.where(maker.chance(0.1), most, p)
    if dtype.is_signed:
        p = torch.where(maker.chance(0.01), -1, p)
    return p, q.masked_fill(maker.chance(0.02, each=False), 0)
