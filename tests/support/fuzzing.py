"""Random rows of arbitrary floats, many at a time: random bit patterns, ordinary values, and mixtures of both."""

from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_LOGIT = 1e290
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
# arguments at which exp, its square or its products leave the range of float32 or float64, and values used as masks
_THRESHOLDS = (0.0, -0.0, 1.0, -1.0, 0.5, -30.0, -87.4, -103.9, -708.3, -708.5, -745.0, -746.0, -1000.0, -1420.0, -1e30)


class RowSource(NamedTuple):
    """A deterministic source of tensors of one shape, ``[rows, classes]``."""

    generator: torch.Generator
    shape: tuple[int, int]

    def pick(self, choices: Tensor, each: bool) -> Tensor:
        """One of the choices for each element, or one for each row."""
        shape = self.shape if each else (self.shape[0], 1)
        return choices[torch.randint(len(choices), shape, generator=self.generator)]

    def chance(self, probability: float, each: bool = True) -> Tensor:
        shape = self.shape if each else (self.shape[0], 1)
        return torch.rand(shape, generator=self.generator) < probability

    def normal(self) -> Tensor:
        return torch.randn(self.shape, generator=self.generator, dtype=torch.float64)

    def bits(self, dtype: torch.dtype) -> Tensor:
        """Random bit patterns: any float, including subnormals and NaNs with payloads."""
        bits = torch.randint(-(2**63), 2**63 - 1, self.shape, generator=self.generator)
        return (bits >> (64 - 8 * dtype.itemsize)).to(_BITS[dtype]).view(dtype)

    def specials(self, dtype: torch.dtype) -> Tensor:
        info = torch.finfo(dtype)
        own = (info.max, info.min, info.tiny, info.smallest_normal * info.eps, info.eps, 1 + info.eps)
        return self.pick(torch.tensor([*_THRESHOLDS, *own, -inf], dtype=torch.float64), each=True)

    def side(self, dtype: torch.dtype, is_log: bool) -> Tensor:
        """Rows for p or q; each is of a random kind."""
        ordinary = self.normal() * self.pick(_SCALES, each=False)
        if not is_log:
            ordinary = ordinary.exp()
            ordinary = torch.where(self.chance(0.5, each=False), ordinary, ordinary / ordinary.sum(-1, keepdim=True))
        ordinary = ordinary.to(dtype)
        wild = torch.where(self.chance(0.5, each=False), self.bits(dtype), self.specials(dtype).to(dtype))
        if not is_log:
            wild = wild.abs()  # so that most rows are valid
        fraction = self.pick(torch.tensor([0.0, 0.0, 0.1, 0.5, 1.0]), each=False)
        wild_here = torch.rand(self.shape, generator=self.generator) < fraction
        x = torch.where(wild_here, wild, ordinary)
        # an invalid element hides all others of its row: keep one of ten
        bad = ~x.isfinite() & (x != -inf if is_log else torch.ones_like(x, dtype=torch.bool))
        return torch.where(bad & self.chance(0.9, each=False), ordinary, x)

    def pair(self, dtypes: Dtypes, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        """p and q: unrelated, nearly equal, equal, equal except for a few classes, or reversed."""
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
        p, q = (clamp_logits(x) if is_log else x for x, is_log in zip((p, q), log_prob, strict=True))
        return self.invalidate(p, log_prob[0]), self.invalidate(q, log_prob[1])

    def invalidate(self, x: Tensor, is_log: bool) -> Tensor:
        """Make one row of fifty invalid in one class, and leave one of fifty without any mass."""
        bad = self.pick(torch.tensor([nan, -nan, inf, *(() if is_log else (-1.0, -1e-7, -inf))]), each=True).to(x.dtype)
        one = torch.arange(self.shape[1]) == torch.randint(self.shape[1], (self.shape[0], 1), generator=self.generator)
        x = torch.where(one & self.chance(0.02, each=False), bad, x)
        return x.masked_fill(self.chance(0.02, each=False), -inf if is_log else 0.0)


def pairs(seed: int, rows: int, classes: int, dtypes: Dtypes, log_prob: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
    return RowSource(torch.Generator().manual_seed(seed), (rows, classes)).pair(dtypes, log_prob)


def clamp_logits(logits: Tensor) -> Tensor:
    """Keep float64 logits so small that their differences are finite, even after scaling."""
    return torch.where(logits.isfinite(), logits.double().clamp(-LARGEST_LOGIT, LARGEST_LOGIT), logits.double()).to(
        logits.dtype
    )


def counts(seed: int, rows: int, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Counts from 0 to the largest integer, p near q or not; some rows have no mass and some a negative count."""
    source = RowSource(torch.Generator().manual_seed(seed), (rows, classes))
    most = torch.iinfo(dtype).max
    sizes = torch.tensor([min(size, most) for size in (1, 2, 10, 1000, 2**31, 2**53, 2**63 - 1)], dtype=torch.float64)
    p, q = (torch.rand(rows, classes, generator=source.generator, dtype=torch.float64) for _ in range(2))
    q = torch.where(source.chance(0.5, each=False), q, p * (1 + source.normal() * 1e-3).clamp(0, 1))
    p, q = ((x * source.pick(sizes, each=False)).clamp(max=most * (1 - 2**-53)).to(dtype) for x in (p, q))
    p = torch.where(source.chance(0.1), most, p)
    if dtype.is_signed:
        p = torch.where(source.chance(0.01), -1, p)
    return p, q.masked_fill(source.chance(0.02, each=False), 0)
