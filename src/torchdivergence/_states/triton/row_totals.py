"""The kernel of :class:`torchdivergence._states.row_totals.RowTotals`: one launch for a batch."""

import triton
import triton.language as tl

from torchdivergence._layout import WIDTH
from torchdivergence._states.triton.superaccumulator import add_integer, add_numbers

_WIDTH = tl.constexpr(WIDTH)


@triton.jit(do_not_specialize=["rows", "items"])
def row_totals(state, values, weights, rows, items, WEIGHTED: tl.constexpr, B: tl.constexpr):
    """Add the values, or with weights the products and the weights, and the number of items."""
    place = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    inside = place < rows
    x = tl.load(values + place, mask=inside, other=0.0)
    if WEIGHTED:
        weight = tl.load(weights + place, mask=inside, other=0.0)
        x = tl.where(weight == 0, 0.0, x * weight)
        add_numbers(state + _WIDTH, tl.where(x != x, x, weight), inside)
    add_numbers(state, x, inside)
    if tl.program_id(0) == 0:
        add_integer(state + 2 * _WIDTH, tl.zeros((), tl.int64) + items)
