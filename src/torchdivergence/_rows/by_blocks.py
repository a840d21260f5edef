"""Functions of rows whose logits are not kept: hidden states are projected a block at a time.

A function takes plain rows and gives columns, one number for each row. It knows nothing of hidden states; what is known
here is that a block of logits lives no longer than the function needs it, and that the backward pass makes it again.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from torchdivergence._inputs.projected import Projected, Side
from torchdivergence._tensor_kinds import in_func_transform, needs_gradient

Columns = Mapping[str, Tensor]


def by_blocks(function: Callable[..., Columns], p: Side, q: Side, *companions: Tensor | None) -> Columns:
    """The columns ``[*batch]`` that a function makes of the logits of p and q and of tensors that go with the rows.

    Args:
        function: Takes logits of p and of q, ``[n, classes]``, and the companions, ``[n]``.
        p: ``[*batch, classes]``.
        q: Likewise.
        companions: ``[*batch]``, or None.
    """
    projected = [x for x in (p, q) if isinstance(x, Projected)]
    if not projected:
        return function(p, q, *companions)
    size, batch = min(x.block_size for x in projected), p.shape[:-1]

    def of_block(p_rows: Tensor, q_rows: Tensor, *own: Tensor | None) -> Columns:
        a = _logits(p, p_rows)
        b = a if q is p else _logits(q, q_rows)
        return function(a, b, *own)

    sides = (x.hidden if isinstance(x, Projected) else x for x in (p, q))
    blocks = zip(*(_blocks(x, size) for x in sides), *(_companion_blocks(x, size) for x in companions), strict=False)
    parts = [_recomputed_backward(of_block, *block) for block in blocks]
    return {name: torch.cat([part[name] for part in parts]).view(batch) for name in parts[0]}


def _logits(side: Side, rows: Tensor) -> Tensor:
    return side.logits(rows) if isinstance(side, Projected) else rows


def _blocks(x: Tensor, size: int) -> Iterator[Tensor]:
    """Blocks of the rows of ``[*batch, numbers]``, one at least: views, or copies where no view can have them."""
    if x.ndim < 3 or x.is_contiguous() or needs_gradient(x):
        return iter(x.reshape(-1, x.shape[-1]).split(size))
    places = torch.arange(x.shape[:-1].numel(), device=x.device).split(size)
    return (x[torch.unravel_index(block, x.shape[:-1])] for block in places)


def _companion_blocks(x: Tensor | None, size: int) -> Iterator[Tensor | None]:
    return repeat(None) if x is None else iter(x.reshape(-1).split(size))


def _recomputed_backward(function: Callable[..., Columns], *args: Any) -> Columns:
    """Call a function, of which autograd keeps nothing but the arguments."""
    if not torch.is_grad_enabled() or in_func_transform():
        return function(*args)
    columns: Columns = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return columns
