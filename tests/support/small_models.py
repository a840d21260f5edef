"""Language models of two layers, whose tokens are bytes."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Model = Any  # the types of transformers are not read
CLASSES = 256


def small_model() -> Model:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": CLASSES}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, initializer_range=0.2, tie_word_embeddings=True)).eval()


def save_tokenizer(path: Path, shift: int = 0, begin: str | None = None) -> None:
    """Each byte is a token; another shift gives another number to each. A begin token comes first in every text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: (i + shift) % CLASSES for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if begin is not None:
        place = tokenizer.token_to_id(begin)
        tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A", None, [(begin, place)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin).save_pretrained(path)
