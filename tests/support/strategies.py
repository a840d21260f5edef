"""Hypothesis strategies for pairs of rows, and for splitting rows into batches."""

from math import inf

import torch
from hypothesis import strategies as st
from torch import Tensor

FINFO_MIN = torch.finfo(torch.float32).min

_logit = st.floats(-30, 30, width=32)


@st.composite
def logit_pairs(draw: st.DrawFn, masks: bool = True) -> tuple[Tensor, Tensor]:
    """Two rows of float32 logits: unrelated, nearly equal or equal, with ties, masks, gaps and offsets."""
    classes = draw(st.integers(1, 12))
    a = draw(st.lists(_logit, min_size=classes, max_size=classes))
    kind = draw(st.sampled_from(["unrelated", "near", "equal", "tied", "one-hot", "gap"]))
    noise = draw(st.lists(st.floats(-1, 1, width=32), min_size=classes, max_size=classes))
    scale = draw(st.sampled_from([1e-4, 1e-2, 1.0]))
    b = [x + scale * e for x, e in zip(a, noise, strict=True)]
    if kind == "unrelated":
        b = draw(st.lists(_logit, min_size=classes, max_size=classes))
    elif kind == "equal":
        b = a
    elif kind == "tied":
        a = [a[0]] * classes
    elif kind in ("one-hot", "gap"):
        a = [0.0] + [-inf if kind == "one-hot" else -1000.0] * (classes - 1)
    p, q = torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)
    if masks:
        for row in (p, q):
            kept = row.clone()
            masked = draw(st.lists(st.booleans(), min_size=classes, max_size=classes))
            row[torch.tensor(masked)] = draw(st.sampled_from([-inf, -1000.0, FINFO_MIN]))
            if row.max() == -inf:
                row[:] = kept
    return p, q + draw(st.sampled_from([0.0, 64.0, -1000.0]))


@st.composite
def wide_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two rows of float32 logits with many classes: flat or not, equal or not, with outliers in a few classes."""
    classes = draw(st.sampled_from([128, 200, 1000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    roughness, noise = (draw(st.sampled_from([0.0, 1e-3, 0.02, 1.0, 30.0])) for _ in range(2))
    p = torch.randn(classes, generator=generator) * roughness
    q = p + torch.randn(classes, generator=generator) * noise
    for row in draw(st.sampled_from([(), (p,), (q,), (p, q), (p, p, q, q)])):
        some = torch.randint(0, classes, (draw(st.sampled_from([1, 5, classes // 2])),), generator=generator)
        row[some] = draw(st.sampled_from([-inf, FINFO_MIN, -1000.0, -104.0, -95.0, -30.0, 0.5, 3.0, 31.0, 1e30]))
        if row.max() == -inf:
            row[0] = 0.0
    return p, q + draw(st.sampled_from([0.0, 64.0, -1e4]))


@st.composite
def splits(draw: st.DrawFn, rows: int) -> list[list[int]]:
    """A permutation of the numbers 0 to rows - 1, cut into batches, some of them empty."""
    order = draw(st.permutations(range(rows)))
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=6)))
    return [order[i:j] for i, j in zip([0, *cuts], [*cuts, rows], strict=True)]
