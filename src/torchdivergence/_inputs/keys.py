"""Keys of sequences: integers by which two reports find the same sequence, passed or made from the targets."""

from torch import Tensor

from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.tensors import INTEGERS, shape

_ODD = -0x61C8864680B583EB  # 2**64 divided by the golden ratio, as int64
_FACTORS = (30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)
_LAST_SHIFT = 31


def check_keys(keys: Tensor, p: Side) -> None:
    """Raise unless there is an integer for each item along the first batch dimension of p (classes last)."""
    if not isinstance(keys, Tensor) or keys.dtype not in INTEGERS:
        found = keys.dtype if isinstance(keys, Tensor) else type(keys).__name__
        raise TypeError(f"keys must be a tensor of integers, one for each sequence, but got {found}.")
    items = p.shape[:-1][:1] or (1,)
    if keys.shape != items:
        raise ValueError(
            f"keys must hold one integer for each of the {items[0]} sequences along the first dimension of p, "
            f"{shape(p)}, but are {shape(keys)}."
        )
    if keys.device != p.device:
        raise ValueError(f"keys must be on the device of p, {p.device}, but are on {keys.device}.")


def keys_of(target: Tensor | None, weights: Tensor | None, keys: Tensor | None) -> Tensor:
    """The keys, or without them a hash of the targets of each item.

    Targets of weight 0 do not count, so padding does not change a hash.

    Args:
        target: ``[*batch]``.
        weights: ``[*batch]``, 0 where the target is ignored.
        keys: ``[items]``.
    """
    if keys is not None:
        return keys.long()
    if target is None or weights is None:
        raise ValueError(
            "keep_sequences and worst need a key for each sequence, which is made from its targets: pass target, or "
            "pass keys, one integer for each sequence."
        )
    items = len(target) if target.ndim else 1
    target = target.reshape(items, -1 if target.numel() else 0).long()
    kept = weights.reshape(target.shape) != 0
    place = kept.long().cumsum(1)
    return _mixed(target + place * _ODD).masked_fill_(~kept, 0).sum(1)


def _mixed(x: Tensor) -> Tensor:
    """A permutation of the 64-bit integers that depends on every bit: the last step of SplitMix64.

    Source: G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    for shift, factor in _FACTORS:
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, _LAST_SHIFT)


def _shifted(x: Tensor, places: int) -> Tensor:
    """The bits, moved to the right; zeros come from the left."""
    return (x >> places) & ((1 << 64 - places) - 1)
