"""The head of a language model: its output embedding, and what the model does to the logits after it."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

_DIVISORS = ("logits_scaling",)  # Granite
_FACTORS = "logit_scale", "lm_head_multiplier"  # Cohere, Falcon-H1
_MULTIPLIES = "hyperclovax"  # its logits_scaling is a factor

_HEADS: WeakKeyDictionary[Any, "LanguageModelHead"] = WeakKeyDictionary()


class LanguageModelHead:
    """The logits of hidden states: those of the output embedding times a scale, softly capped.

    The cap c turns a logit x into ``c * tanh(x / c)``.
    """

    def __init__(self, output: Callable[[Tensor], Tensor], scale: float = 1.0, softcap: float | None = None) -> None:
        self.output, self.scale, self.softcap = output, scale, softcap

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LanguageModelHead) and vars(self) == vars(other)

    __hash__ = object.__hash__

    @property
    def out_features(self) -> int | None:
        """Number of classes, if the output embedding tells it."""
        return getattr(self.output, "out_features", None)

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits."""
        logits = self.output(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.softcap is None else self.softcap * (logits / self.softcap).tanh()


def language_model_head(model: Any) -> LanguageModelHead:
    """The head of a model of transformers, whose output embedding is looked up now, and whose config has the rest."""
    find = getattr(model, "get_output_embeddings", None)
    output = find() if find else None
    if output is None:
        raise TypeError(
            f"the model must have an output embedding, like the causal language models of transformers, but "
            f"{type(model).__name__} has none: Projected(hidden, head) takes any head."
        )
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    scale = 1.0
    for name in (*_DIVISORS, *_FACTORS):
        if number := getattr(config, name, None):
            divides = name in _DIVISORS and _MULTIPLIES not in str(config.model_type)
            scale = scale / number if divides else scale * number
    head = LanguageModelHead(output, scale, getattr(config, "final_logit_softcapping", None))
    if _HEADS.get(model) != head:
        _HEADS[model] = head
    return _HEADS[model]  # the same object as before, so that it is not checked again
