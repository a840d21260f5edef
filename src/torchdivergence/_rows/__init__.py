"""One value per row, with its gradient: plain tensors go to the kernels at once, all others through the dispatcher.

The backend depends on device, dtype and settings, never on the number of rows: results are batch-invariant.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdivergence._divergences import by_key
from torchdivergence._inputs.projected import Side
from torchdivergence._rows import derivatives as derivatives  # registers kernels
from torchdivergence._rows.by_blocks import by_blocks
from torchdivergence._rows.operators import ROW_DIVERGENCE, ROW_DIVERGENCES, evaluate, sides_code
from torchdivergence._rows.transforms import register_shardings
from torchdivergence._tensor_kinds import has_memory, is_dtensor, may_skip_dispatcher, no_modes


def row_divergence(p: Side, q: Side, log_prob: tuple[bool, bool], temperature: float, key: str) -> Tensor:
    """The divergence of each row in nats, ``[*batch]`` in float64, differentiable.

    Args:
        p: ``[*batch, classes]``, any strides, or hidden states with their head.
        q: Likewise.
        log_prob: For p and for q: True for logits or log-probabilities, False for probabilities or counts.
        temperature: Divides the logits.
        key: Which divergence.

    Raises:
        NotImplementedError: A backend was chosen that does not support the divergence or the tensors.
    """
    if not (isinstance(p, Tensor) and isinstance(q, Tensor)):
        return by_blocks(lambda a, b: {key: row_divergence(a, b, log_prob, temperature, key)}, p, q)[key]
    if may_skip_dispatcher(p, q):
        return evaluate(p, q, log_prob, temperature, (by_key(key),))[0]
    _prepare(p)
    return ROW_DIVERGENCE(p, q, sides_code(*log_prob), temperature, key)  # type: ignore[no-any-return]


def row_divergences(
    p: Side, q: Side, log_prob: tuple[bool, bool], temperature: float, keys: Sequence[str]
) -> Sequence[Tensor]:
    """Several divergences of each row from one pass over the classes, without gradients."""
    if not (isinstance(p, Tensor) and isinstance(q, Tensor)):
        columns = by_blocks(
            lambda a, b: dict(zip(keys, row_divergences(a, b, log_prob, temperature, keys), strict=True)), p, q
        )
        return [columns[key] for key in keys]
    if no_modes() and has_memory(p) and has_memory(q):
        return evaluate(p, q, log_prob, temperature, [by_key(key) for key in keys])
    _prepare(p)
    values: Tensor = ROW_DIVERGENCES(p, q, sides_code(*log_prob), temperature, len(keys), " ".join(keys))
    return values.unbind()


def _prepare(p: Tensor) -> None:
    if not torch.compiler.is_compiling() and is_dtensor(p):
        register_shardings()
