"""States on the CPU: the native kernels, which take addresses (src/native/). All tensors here are contiguous."""

from bisect import bisect_left
from collections.abc import Sequence

from torch import Tensor

from torchdivergence._extension import native


def accumulate(accumulators: Tensor, values: Tensor) -> None:
    """See :func:`torchdivergence._states.superaccumulator.accumulate_`."""
    values = values.contiguous()
    native.accumulate(values.data_ptr(), *values.shape, accumulators.data_ptr())


def accumulate_histogram(state: Tensor, numbers: Tensor, weights: Tensor, signed: bool) -> None:
    """See :func:`torchdivergence._states.histogram.update_histogram_`."""
    native.accumulate_histogram(numbers.data_ptr(), weights.data_ptr(), numbers.numel(), signed, state.data_ptr())


def accumulate_contingency(state: Tensor, first: Tensor, second: Tensor, weights: Tensor) -> None:
    """See :class:`torchdivergence._states.contingency.ContingencyTable`."""
    addresses = (x.data_ptr() for x in (first, second, weights))
    native.accumulate_contingency(*addresses, weights.numel(), state.data_ptr())


def accumulate_moments(
    states: Tensor, columns: Tensor, weights: Tensor, shape: tuple[int, int, int], ends: Sequence[int], signed: bool
) -> None:
    """See :meth:`torchdivergence._states.moments.Moments.accumulate_ranges_`."""
    ends = *ends[: bisect_left(ends, shape[-1])], shape[-1]
    sizes, addresses = (len(columns), *shape), (columns.data_ptr(), weights.data_ptr())
    native.accumulate_moments(*addresses, sizes, ends, signed, states.data_ptr())
