"""Tensors that a metric can accumulate: on its device, in memory of their own, each row on one process only."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from torchdivergence._inputs.projected import Projected, Side
from torchdivergence._inputs.tensors import Rows
from torchdivergence._tensor_kinds import PLAIN_TYPES, in_func_transform, is_dtensor


def own_rows(
    rows: Rows, device: torch.device, companions: Mapping[str, Tensor | None] = MappingProxyType({})
) -> tuple[Rows, dict[str, Tensor | None]]:
    """Rows as a metric on a device accumulates them, and tensors that go with them: their targets, for example.

    Of DTensors these are the rows of this process. A row that several processes hold is counted by one of them.

    Raises:
        ValueError: The tensors are on another device than the metric.
        TypeError: They are of a kind that a metric cannot hold, such as fake tensors.
    """
    if in_func_transform():
        raise TypeError(
            "a metric cannot be updated inside a torch.func transform: use the function of the divergence there."
        )
    if is_dtensor(rows.p):
        rows, companions = _local_rows(rows, companions)
    p, q = _side_in_memory("p", rows.p), _side_in_memory("q", rows.q)
    if p.device.type == "meta":
        raise TypeError("a metric cannot accumulate tensors on the device meta, which have no numbers.")
    weights = rows.weights if rows.weights is None else _in_memory("weights", rows.weights)
    own = {name: x if x is None else _in_memory(name, x) for name, x in companions.items()}
    if p.device != device:
        raise ValueError(
            f"the metric is on {device}, but p and q are on {p.device}: move the metric with "
            f"metric.to({str(p.device)!r})."
        )
    return Rows(p, q, weights), own


def _side_in_memory(name: str, x: Side) -> Side:
    if isinstance(x, Projected):
        return x.with_hidden(_in_memory(f"hidden states of {name}", x.hidden))
    return _in_memory(name, x)


def _in_memory(name: str, x: Tensor) -> Tensor:
    if type(x) in PLAIN_TYPES:
        return x
    if type(x).__torch_dispatch__ is Tensor.__torch_dispatch__:
        return x.as_subclass(Tensor)
    raise TypeError(
        f"a metric cannot accumulate a {type(x).__name__} ({name}): pass a plain tensor, or use the function of the "
        "divergence, which takes it."
    )


def _local_rows(rows: Rows, companions: Mapping[str, Tensor | None]) -> tuple[Rows, dict[str, Tensor | None]]:
    """The rows of this process; none if another process with the same rows counts them."""
    from torch.distributed.tensor import DTensor, Replicate, Shard

    given: Any = rows.p
    mesh, ndim = given.device_mesh, given.ndim
    placements = [
        Shard(0) if ndim > 1 and isinstance(place, Shard) and place.dim == 0 else Replicate()
        for place in given.placements
    ]
    coordinate = mesh.get_coordinate()
    counts = coordinate is not None and not any(
        place.is_replicate() and at for place, at in zip(placements, coordinate, strict=True)
    )

    def local(x: Any, shape_of_row: Sequence[int] = ()) -> Any:
        if x is None:
            return None
        if not isinstance(x, DTensor):
            x = DTensor.from_local(x, mesh, [Replicate()] * mesh.ndim, run_check=False)
        x = x.redistribute(mesh, placements).to_local()
        x = x if ndim > 1 else x.reshape(1, *shape_of_row)
        return x if counts else x[:0]

    own, classes = {name: local(x) for name, x in companions.items()}, given.shape[-1:]
    return Rows(local(rows.p, classes), local(rows.q, classes), local(rows.weights)), own
