"""Rows of clusters in ranges of positions: where a row lies in memory."""

import triton
import triton.language as tl


@triton.jit
def range_bounds(ends, place, positions):
    """The first position of a range, and how many positions it has."""
    first = tl.load(ends + place - 1, mask=place > 0, other=0)
    return first, tl.minimum(tl.load(ends + place), positions) - first


@triton.jit
def row_index(cluster, place, first, width, blocks, positions):
    """The index of a row: the one at a place among those of its cluster that lie in a range."""
    width = tl.maximum(width, 1)
    return (cluster * blocks + place // width) * positions + first + place % width
