"""How the rows of several tensors lie in memory, in the form that the kernels take."""

from typing import NamedTuple

from torch import Tensor

MAX_DIMS = 3
_VECTOR = 16  # bytes of a load of an aligned row


class RowLayout(NamedTuple):
    """Batch dimensions, joined where the strides of all tensors allow it, and strides in numbers."""

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    class_strides: tuple[int, ...]
    units: tuple[int, ...]
    """Of each tensor, the numbers that may be read at once: 16 bytes if all rows of all are aligned, else one."""

    @property
    def arguments(self) -> tuple[int, ...]:
        """Sizes from ``size_1``, strides, and strides of the classes; there are at most MAX_DIMS batch dimensions."""
        missing = MAX_DIMS - len(self.sizes)
        sizes = (1,) * missing + self.sizes
        return *sizes[1:], *(x for strides in self.strides for x in (0,) * missing + strides), *self.class_strides


def row_layout(*tensors: Tensor) -> RowLayout:
    """The layout of tensors of the same shape, classes last."""
    joined: list[tuple[int, ...]] = []
    for size, *strides in zip(tensors[0].shape[:-1], *(x.stride()[:-1] for x in tensors), strict=True):
        if size == 1:
            continue
        if joined and joined[-1][1:] == tuple(size * stride for stride in strides):
            size *= joined.pop()[0]
        joined.append((size, *strides))
    sizes, *by_tensor = zip(*joined, strict=True) if joined else ((),) * (1 + len(tensors))
    aligned = all(_is_aligned(x, strides) for x, strides in zip(tensors, by_tensor, strict=True))
    units = tuple(_VECTOR // x.element_size() if aligned else 1 for x in tensors)
    return RowLayout(sizes, tuple(by_tensor), tuple(x.stride(-1) for x in tensors), units)


def _is_aligned(x: Tensor, strides: tuple[int, ...]) -> bool:
    starts = x.data_ptr(), *(stride * x.element_size() for stride in strides)
    return x.stride(-1) == 1 and all(start % _VECTOR == 0 for start in starts)
