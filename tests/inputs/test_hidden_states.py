"""Hidden states on disk, and the heads of language models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.support.helpers import assert_all_same
from torchdivergence import DivergenceReport, HiddenStates, Projected
from torchdivergence._inputs.heads import LanguageModelHead

WIDTH, CLASSES = 8, 50


def batches() -> list[tuple[Tensor, Tensor]]:
    """Hidden states of two texts each, and their targets."""
    torch.manual_seed(0)
    return [(torch.randn(2, 7, WIDTH), torch.randint(0, CLASSES, (2, 7))) for _ in range(3)]


def heads() -> dict[str, Any]:
    torch.manual_seed(1)
    linear = nn.Linear(WIDTH, CLASSES)
    return {
        "linear": linear,
        "no bias, bfloat16": nn.Linear(WIDTH, CLASSES, bias=False).bfloat16(),
        "scale and softcap": LanguageModelHead(linear, 0.25, 3.0),
    }


def stored(folder: Path, head: Any, parts: list[tuple[Tensor, Tensor]]) -> HiddenStates:
    """Hidden states, of which each batch was appended by an object of its own."""
    for hidden, target in parts:
        HiddenStates(folder).append(Projected(hidden, head), target=target)
    return HiddenStates(folder)


@pytest.mark.parametrize("name", heads())
def test_a_candidate_is_compared_with_what_was_stored(name: str, tmp_path: Path) -> None:
    head, candidate = heads()[name], nn.Linear(WIDTH, CLASSES).requires_grad_(False)
    direct, later = DivergenceReport(), DivergenceReport()
    for hidden, target in batches():
        direct.update(Projected(hidden, head), Projected(hidden, candidate), target=target)
    kept = stored(tmp_path, head, batches())
    assert len(kept) == 3
    for p, tensors in kept:
        later.update(p, Projected(p.hidden, candidate), target=tensors["target"])
    assert_all_same(later.compute(), direct.compute())


def test_settings_apply_to_the_batches_that_are_read(tmp_path: Path) -> None:
    stored(tmp_path, heads()["linear"], batches())
    [(p, _), *_] = HiddenStates(tmp_path, num_classes=40, dtype=torch.float64, block_size=5)
    assert (p.shape, p.dtype, p.block_size) == ((2, 7, 40), torch.float64, 5)


def test_any_head_may_be_given_in_place_of_a_stored_one(tmp_path: Path) -> None:
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))
    hidden, _ = batches()[0]
    with pytest.raises(TypeError, match=r"only a linear head can be stored, but this one is a Sequential"):
        HiddenStates(tmp_path).append(Projected(hidden, head))
    HiddenStates(tmp_path, head).append(Projected(hidden, head))
    with pytest.raises(ValueError, match=r"has no head\.safetensors: give the head"):
        next(iter(HiddenStates(tmp_path)))
    [(p, _)] = HiddenStates(tmp_path, head)
    assert p.head is head


def test_another_head_is_refused_and_stores_nothing(tmp_path: Path) -> None:
    hidden, target = batches()[0]
    kept = stored(tmp_path, heads()["linear"], [(hidden, target)])
    for name in ("no bias, bfloat16", "scale and softcap"):
        with pytest.raises(ValueError, match="of another head: use another folder"):
            kept.append(Projected(hidden, heads()[name]))
    with pytest.raises(ValueError, match="give the tensor another name"):
        kept.append(Projected(hidden, heads()["linear"]), hidden=target)
    assert len(kept) == 1


def test_a_gap_is_not_filled_and_batches_are_never_overwritten(tmp_path: Path) -> None:
    kept = stored(tmp_path, heads()["linear"], batches())
    (tmp_path / "000000.safetensors").unlink()
    last = (tmp_path / "000002.safetensors").read_bytes()
    kept.append(Projected(batches()[0][0], heads()["linear"]))
    assert (tmp_path / "000002.safetensors").read_bytes() == last
    assert (tmp_path / "000003.safetensors").exists()


def test_a_linear_layer_that_computes_something_else_is_not_stored(tmp_path: Path) -> None:
    hooked = nn.Linear(WIDTH, CLASSES)
    hooked.register_forward_hook(lambda _, __, output: 2 * output)
    with pytest.raises(TypeError, match="only a linear head can be stored"):
        HiddenStates(tmp_path).append(Projected(batches()[0][0], hooked))


def test_files_that_do_not_fit_are_refused_with_the_reason(tmp_path: Path) -> None:
    stored(tmp_path, heads()["linear"], batches())
    first = tmp_path / "000000.safetensors"
    tensors = load_file(first)
    metadata = {"format": "torchdivergence.hidden_states", "version": "1", "settings": "{}"}
    damaged = {
        "has None, version None": lambda: save_file(tensors, first),
        "hidden_states', version 2": lambda: save_file(tensors, first, metadata | {"version": "2"}),
        "of width 5, but the head has 8": lambda: save_file({"hidden": torch.ones(2, 5)}, first, metadata),
        "cannot be read as hidden states": lambda: first.write_bytes(first.read_bytes()[:50]),
    }
    for text, damage in damaged.items():
        damage()
        with pytest.raises(ValueError, match=text):
            next(iter(HiddenStates(tmp_path)))


def models() -> dict[str, Any]:
    """The configs of models whose logits have a scale or a softcap, or none."""
    return {
        "Llama": {},
        "Gemma2": {"final_logit_softcapping": 0.3},
        "Cohere": {"logit_scale": 0.0625},
        "Granite": {"logits_scaling": 7.0},
    }


@pytest.mark.parametrize("name", models())
def test_the_head_of_a_language_model_gives_its_logits(name: str) -> None:
    transformers: Any = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "head_dim": 8}
    tokens = {"vocab_size": 97, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**small, **tokens, num_attention_heads=4, **models()[name])
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        output = model(torch.arange(60).view(2, 30), output_hidden_states=True)
        projected = Projected.of(model, output.hidden_states[-1])
        logits = projected.logits(projected.hidden.flatten(0, 1))
    torch.testing.assert_close(logits, output.logits.flatten(0, 1), rtol=1e-5, atol=1e-6)
    assert Projected.of(model, projected.hidden).head is projected.head


def test_a_model_without_an_output_embedding_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must have an output embedding, .* but Linear has none"):
        Projected.of(nn.Linear(2, 2), torch.ones(2))
