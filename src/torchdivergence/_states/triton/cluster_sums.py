"""The kernel of :func:`torchdivergence._states.moments.cluster_sums`: sums over clusters in a fixed order.

A program takes R clusters of one column and one range of positions, and reads T rows of each at a time. Rows of weight
zero are left out, and the others move up to take their places. T of these make a block, which is summed by pairs of
neighbors. So are the blocks: ``partial[k]`` is the sum of 2**k blocks.
"""

import triton
import triton.language as tl

from torchdivergence._states.triton.ranges import range_bounds, row_index

_LEVELS = tl.constexpr(32)


@triton.jit
def _sum_pairs(x, T: tl.constexpr, LOG_T: tl.constexpr):
    """The sums of T numbers each, by pairs of neighbors: of [R, T] numbers, [R]."""
    for step in tl.static_range(LOG_T):
        a, b = tl.split(tl.reshape(x, [x.shape[0], T >> (step + 1), 2]))
        x = a + b
    return tl.reshape(x, [x.shape[0]])


@triton.jit
def _moved(x, kept, place, T: tl.constexpr):
    """Numbers that are kept, at their new places from 0 to T - 1; 0 elsewhere."""
    here = kept[:, :, None] & (place[:, :, None] == tl.arange(0, T)[None, None, :])
    return tl.sum(tl.where(here, x[:, :, None], 0.0), 1)


@triton.jit
def _level(partial, level):
    return tl.sum(tl.where(tl.arange(0, _LEVELS)[None, :] == level, partial, 0.0), 1)


@triton.jit
def _add_block(partial, count, x, full):
    """Add the sums of blocks that are full, as 1 is added to a binary number."""
    level = 0
    carries = full
    while tl.max(carries.to(tl.int32), 0) > 0:
        stays = carries & ((count >> level) & 1 == 0)
        at = tl.arange(0, _LEVELS)[None, :] == level
        higher = _level(partial, level) + x
        partial = tl.where(stays[:, None] & at, x[:, None], partial)
        x = tl.where(stays, x, higher)
        carries = carries & (stays == 0)
        level += 1
    return partial, count + full.to(tl.int32)


@triton.jit(do_not_specialize=["columns", "clusters", "blocks", "positions"])
def cluster_sums(
    sums, values, weights, ends, columns, clusters, blocks, positions,
    R: tl.constexpr, T: tl.constexpr, LOG_T: tl.constexpr,
):  # fmt: skip
    """Sums ``[ranges, columns + 1, clusters]`` of the products of columns and weights, and last of the weights."""
    cluster = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column = tl.program_id(2).to(tl.int64)
    first, width = range_bounds(ends, tl.program_id(1), positions)
    values += column * clusters * blocks * positions
    tail, partial = tl.zeros([R, T], tl.float64), tl.zeros([R, _LEVELS], tl.float64)
    count, filled = tl.zeros([R], tl.int32), tl.zeros([R], tl.int32)
    for start in range(0, blocks * width, T):
        place = start + tl.arange(0, T)[None, :]
        inside = (place < blocks * width) & (cluster < clusters)[:, None]
        index = row_index(cluster[:, None], place, first, width, blocks, positions)
        weight = tl.load(weights + index, mask=inside, other=0.0)
        x = weight
        if column < columns:
            x = tl.load(values + index, mask=inside, other=0.0) * weight
        kept = inside & (weight != 0)
        new_place = filled[:, None] + tl.cumsum(kept.to(tl.int32), 1) - 1
        block = tail + _moved(x, kept, new_place, T)
        filled += tl.sum(kept.to(tl.int32), 1)
        full = filled >= T
        partial, count = _add_block(partial, count, _sum_pairs(block, T, LOG_T), full)
        tail = tl.where(full[:, None], _moved(x, kept, new_place - T, T), block)
        filled = tl.where(full, filled - T, filled)
    total = _sum_pairs(tail, T, LOG_T)
    level, most = 0, tl.max(count, 0)
    while (most >> level) > 0:
        total = tl.where((count >> level) & 1 == 1, _level(partial, level) + total, total)
        level += 1
    place = (tl.program_id(1) * (columns + 1) + column) * clusters + cluster
    tl.store(sums + place, total, mask=cluster < clusters)
