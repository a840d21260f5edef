"""How the rows of two tensors lie in memory, in the form that the kernels take."""

from typing import NamedTuple

from torch import Tensor

MAX_DIMS = 3
_VECTOR = 16  # bytes of a load of an aligned row


class RowLayout(NamedTuple):
    """Batch dimensions of p and q, joined where their strides allow it, and strides in numbers."""

    sizes: tuple[int, ...]
    p_strides: tuple[int, ...]
    q_strides: tuple[int, ...]
    class_strides: tuple[int, int]
    units: tuple[int, int]
    """Of p and of q, the numbers that may be read at once: 16 bytes if all rows are aligned, else one."""

    @property
    def arguments(self) -> tuple[int, ...]:
        """Arguments of a kernel from ``size_1`` to ``q_stride``; there are at most MAX_DIMS batch dimensions."""
        missing = MAX_DIMS - len(self.sizes)
        sizes, p, q = ((fill,) * missing + x for fill, x in ((1, self.sizes), (0, self.p_strides), (0, self.q_strides)))
        return *sizes[1:], *p, *q, *self.class_strides


def row_layout(p: Tensor, q: Tensor) -> RowLayout:
    """The layout of two tensors of the same shape, classes last."""
    joined: list[tuple[int, int, int]] = []
    for size, p_stride, q_stride in zip(p.shape[:-1], p.stride(), q.stride(), strict=False):
        if size == 1:
            continue
        if joined and joined[-1][1:] == (size * p_stride, size * q_stride):
            size *= joined.pop()[0]
        joined.append((size, p_stride, q_stride))
    sizes, *strides = zip(*joined, strict=True) if joined else ((), (), ())
    class_strides = p.stride(-1), q.stride(-1)
    aligned = all(_is_aligned(x, x_strides) for x, x_strides in zip((p, q), strides, strict=True))
    units = (_VECTOR // p.element_size(), _VECTOR // q.element_size()) if aligned else (1, 1)
    return RowLayout(sizes, strides[0], strides[1], class_strides, units)


def _is_aligned(x: Tensor, strides: tuple[int, ...]) -> bool:
    starts = x.data_ptr(), *(stride * x.element_size() for stride in strides)
    return x.stride(-1) == 1 and all(start % _VECTOR == 0 for start in starts)
