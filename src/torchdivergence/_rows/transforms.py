"""Rules of the operators of rows for ``torch.vmap`` and for DTensor."""

from functools import cache
from typing import Any

from torch import Tensor
from torch.library import register_vmap

from torchdivergence._rows.operators import (
    LIBRARY,
    NAMESPACE,
    ROW_DIVERGENCE,
    ROW_DIVERGENCE_AND_MASSES,
    ROW_DIVERGENCES,
    ROW_GRADIENTS,
    side_flags,
)


def batch_first(x: Tensor, dim: int | None, size: int) -> Tensor:
    """The dimension over which is mapped moved to the front, or a new one of the same tensor."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def _sides_first(info: Any, in_dims: Any, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    return batch_first(p, in_dims[0], info.batch_size), batch_first(q, in_dims[1], info.batch_size)


def _divergence_vmap(info: Any, in_dims: Any, p: Tensor, q: Tensor, *settings: Any) -> tuple[Tensor, int]:
    return ROW_DIVERGENCE(*_sides_first(info, in_dims, p, q), *settings), 0


def _divergence_and_masses_vmap(info: Any, in_dims: Any, p: Tensor, q: Tensor, *settings: Any) -> Any:
    return ROW_DIVERGENCE_AND_MASSES(*_sides_first(info, in_dims, p, q), *settings), (0, 1)


def _divergences_vmap(info: Any, in_dims: Any, p: Tensor, q: Tensor, *settings: Any) -> tuple[Tensor, int]:
    return ROW_DIVERGENCES(*_sides_first(info, in_dims, p, q), *settings), 1


def _gradients_vmap(info: Any, in_dims: Any, *args: Any) -> Any:
    *rows, log_masses = (batch_first(x, dim, info.batch_size) for x, dim in zip(args[:5], in_dims[:5], strict=True))
    grads = ROW_GRADIENTS(*rows, log_masses.movedim(1, 0), *args[5:])
    return grads, tuple(0 if need else None for need in side_flags(args[-1]))


for _name, _rule in (
    ("row_divergence", _divergence_vmap),
    ("row_divergences", _divergences_vmap),
    ("row_divergence_and_masses", _divergence_and_masses_vmap),
    ("row_gradients_by_masses", _gradients_vmap),
):
    register_vmap(f"{NAMESPACE}::{_name}", _rule, lib=LIBRARY)


@cache
def register_shardings() -> None:
    """Tell DTensor how the operators may be sharded: along batch dimensions, never along the classes."""
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.experimental import register_sharding

    def placements(outputs: list[str], inputs: list[str], ndim: int) -> list[Any]:
        rules: list[Any] = [([Replicate()] * len(outputs), [Replicate() if x else None for x in inputs])]
        for dim in range(ndim - 1):
            place = {"row": Shard(dim), "stacked": Shard(dim + 1), "whole": Replicate(), "": None}
            rules.append(([place[x] for x in outputs], [place[x] for x in inputs]))
        return rules

    @register_sharding(ROW_DIVERGENCE)  # type: ignore[untyped-decorator]
    def _(p: Any, q: Any, *settings: Any) -> list[Any]:  # noqa: ARG001
        return placements(["row"], ["row", "row", *[""] * len(settings)], p.ndim)

    @register_sharding(ROW_DIVERGENCE_AND_MASSES)  # type: ignore[untyped-decorator]
    def _(p: Any, q: Any, *settings: Any) -> list[Any]:  # noqa: ARG001
        return placements(["row", "stacked"], ["row", "row", *[""] * len(settings)], p.ndim)

    @register_sharding(ROW_DIVERGENCES)  # type: ignore[untyped-decorator]
    def _(p: Any, q: Any, *settings: Any) -> list[Any]:  # noqa: ARG001
        return placements(["stacked"], ["row", "row", *[""] * len(settings)], p.ndim)

    @register_sharding(ROW_GRADIENTS)  # type: ignore[untyped-decorator]
    def _(grad_output: Any, values: Any, p: Any, q: Any, log_masses: Any, *settings: Any) -> list[Any]:  # noqa: ARG001
        outputs = ["row" if need else "whole" for need in side_flags(settings[-1])]
        return placements(outputs, ["row"] * 4 + ["stacked"] + [""] * len(settings), p.ndim)
