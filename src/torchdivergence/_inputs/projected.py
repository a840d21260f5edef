"""Hidden states and their head in place of logits."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from torchdivergence._inputs.heads import language_model_head
from torchdivergence._inputs.projection import check_rows_alone, known_classes, project
from torchdivergence._tensor_kinds import FLOATS

Head = Callable[[Tensor], Tensor]
_DTYPES = torch.float32, torch.float64


class Projected:
    r"""Logits as hidden states and the head that projects them: ``head(hidden)``, without ever holding all logits.

    It stands in place of a tensor of logits, as p, q or both, in all functions and metrics. Rows are projected in
    blocks of ``block_size``. The last block is padded to this size, so that a row has the same bits in any batch: a
    matrix product may give other bits for another number of rows.

    Memory: a block takes ``block_size * classes`` numbers of ``dtype`` for each side, whatever the number of rows.
    Backward, each block is projected again. Gradients go to the hidden states and to the parameters of the head.

    Args:
        hidden: The hidden states, ``[*batch, width]``.
        head: Any callable from ``[n, width]`` to logits ``[n, classes]`` that treats each row alone: a linear layer, or
            a module of a norm, a linear layer and a softcap.
        num_classes: Number of classes that count, from the first on: less than the head has, if its vocabulary is
            padded. By default all.
        dtype: In which the hidden states are projected: float32 or float64. The weights of the head may have another
            one: those of linear layers and matrix products are cast a part at a time.
        block_size: Number of rows that are projected at a time.

    Raises:
        TypeError: The hidden states are no tensor of floating point numbers, or the head is not callable.
        ValueError: The hidden states have no dimension, or a number is out of range. Later, from a function or metric:
            the head gives something else than logits, or fewer classes than ``num_classes``.

    Example:
        >>> import torch
        >>> from torchdivergence import Projected
        >>> from torchdivergence.functional import kl_divergence
        >>> generator = torch.Generator().manual_seed(0)
        >>> hidden, weight = torch.randn(6, 4, generator=generator), torch.randn(10, 4, generator=generator)
        >>> p = Projected(hidden, lambda x: x @ weight.T)
        >>> q = Projected(hidden, lambda x: 30 * torch.tanh(x @ weight.T / 30))
        >>> p.shape
        torch.Size([6, 10])
        >>> print(f"{kl_divergence(p, q, log_prob=True):.2e}")
        4.47e-06
    """

    is_nested = False

    def __init__(
        self,
        hidden: Tensor,
        head: Head,
        *,
        num_classes: int | None = None,
        dtype: torch.dtype = torch.float32,
        block_size: int = 64,
    ) -> None:
        self.hidden, self.head, self.num_classes = hidden, head, num_classes
        self.dtype, self.block_size = dtype, block_size
        self._check()

    @classmethod
    def of(cls, model: Any, hidden: Tensor, **settings: Any) -> "Projected":
        """The logits of a causal language model of transformers, from the hidden states after its last norm.

        These are ``outputs.last_hidden_state`` of its base model, and ``outputs.hidden_states[-1]``.

        Args:
            model: The model. Its output embedding is the head. The scale and the softcap of the logits come from its
                config: ``final_logit_softcapping``, ``logit_scale``, ``logits_scaling`` or ``lm_head_multiplier``.
            hidden: The hidden states, ``[*batch, width]``.
            settings: As for the constructor.

        Raises:
            TypeError: The model has no output embedding.
        """
        return cls(hidden, language_model_head(model), **settings)

    def _check(self) -> None:
        if not isinstance(self.hidden, Tensor) or self.hidden.dtype not in FLOATS:
            found = self.hidden.dtype if isinstance(self.hidden, Tensor) else type(self.hidden).__name__
            raise TypeError(f"hidden must be a floating point tensor, but got {found}.")
        if not callable(self.head):
            raise TypeError(
                f"head must be callable, such as torch.nn.Linear, but got {type(self.head).__name__}: for a weight "
                "[classes, width] write lambda x: x @ weight.T."
            )
        if not self.hidden.ndim:
            raise ValueError("hidden must be [*batch, width], but is a single number.")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be torch.float32 or torch.float64, but got {self.dtype}.")
        for name, x in (("block_size", self.block_size), ("num_classes", self.num_classes)):
            if x is not None and (not isinstance(x, int) or isinstance(x, bool) or x < 1):
                raise ValueError(f"{name} must be a positive integer, but got {x!r}.")

    @cached_property
    def classes(self) -> int:
        """Number of classes."""
        known = known_classes(self.head)
        if known is None:
            with torch.no_grad():
                known = self._project(self.hidden.new_zeros(2, self.hidden.shape[-1])).shape[-1]
        if self.num_classes is not None and known < self.num_classes:
            raise ValueError(f"the head must have at least num_classes={self.num_classes} classes, but has {known}.")
        return known if self.num_classes is None else self.num_classes

    @property
    def shape(self) -> torch.Size:
        """Shape of the logits, ``[*batch, classes]``."""
        return torch.Size([*self.hidden.shape[:-1], self.classes])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.hidden.ndim

    @property
    def device(self) -> torch.device:
        """Device of the hidden states, where the logits are computed."""
        return self.hidden.device

    def first_classes(self, num_classes: int) -> "Projected":
        """The same, of which only the first classes count."""
        return Projected(self.hidden, self.head, num_classes=num_classes, dtype=self.dtype, block_size=self.block_size)

    def with_hidden(self, hidden: Tensor) -> "Projected":
        """The same for other hidden states."""
        if hidden is self.hidden:
            return self
        return Projected(hidden, self.head, num_classes=self.num_classes, dtype=self.dtype, block_size=self.block_size)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of at most ``block_size`` rows, ``[n, width]``, whose bits do not depend on their number."""
        padded = torch.nn.functional.pad(hidden, (0, 0, 0, self.block_size - len(hidden)))
        logits = self._project(padded)
        if len(hidden):
            check_rows_alone(self.head, self._project, padded, logits)
        if logits.shape[-1] < self.classes or (self.num_classes is None and logits.shape[-1] > self.classes):
            raise ValueError(f"the head must have {self.classes} classes, but gave logits {tuple(logits.shape)}.")
        return logits[: len(hidden), : self.classes]

    def _project(self, hidden: Tensor) -> Tensor:
        logits = project(self.head, hidden, self.dtype)
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.shape[:-1] != hidden.shape[:-1]:
            found = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"the head must map hidden states {tuple(hidden.shape)} to logits [{len(hidden)}, classes], floating "
                f"point, but gave {found}."
            )
        return logits

    def __repr__(self) -> str:
        return (
            f"Projected(hidden={tuple(self.hidden.shape)} {self.hidden.dtype}, classes={self.classes}, "
            f"dtype={self.dtype}, block_size={self.block_size})"
        )


Side = Tensor | Projected
"""What p or q may be."""
