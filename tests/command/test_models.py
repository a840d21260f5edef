"""How models are loaded and run: one at a time, in the dtype that is given, each sequence from its begin token."""

import gc
import weakref
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.command import Run, valid_json
from tests.support.small_models import Model, save_tokenizer
from torchdivergence._command import rounding
from torchdivergence._command.models import load_tokenizer
from torchdivergence._command.rounding import round_weights


def test_every_sequence_of_a_text_begins_with_the_begin_token_which_is_no_target(
    run: Run, reference: Model, folder: Path, text: Path, tmp_path: Path
) -> None:
    save_tokenizer(tmp_path / "model", begin="!")
    reference.save_pretrained(tmp_path / "model")
    begin = AutoTokenizer.from_pretrained(tmp_path / "model").bos_token_id
    ids = AutoTokenizer.from_pretrained(folder)(text.read_text(encoding="utf-8")).input_ids
    seen = torch.tensor([[begin, *ids[31 * i : 31 * (i + 1)]] for i in range(3)])
    with torch.no_grad():
        logits = reference(seen).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), seen[:, 1:].flatten())
    path = tmp_path / "o.json"
    assert run("--reference", tmp_path / "model", "--round", "int8", "--json", path)[0] == 0
    (found,) = valid_json(path)["candidates"]
    assert found["counts"]["rows"] == 3 * 31
    assert found["values"]["perplexity_p"]["value"] == pytest.approx(loss.exp().item(), rel=1e-5)
    code, _, said = run("--reference", tmp_path / "model", "--candidate", folder)
    assert code == 3 and f"token 1 of sequence 1 is {begin} for the reference" in said


def test_one_candidate_at_a_time_is_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Any]] = []

    def make(*arguments: Any) -> Any:
        gc.collect()
        assert not any(earlier() is not None for earlier in seen)
        model = round_weights(*arguments)
        seen.append(weakref.ref(model))
        return model

    monkeypatch.setattr(rounding, "round_weights", make)
    assert run("--round", "int8", "int4", "int4/16")[0] == 0 and len(seen) == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_models_run_in_the_given_dtype(run: Run, folder: Path, text: Path, tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "o.json"
    size = ["--tokens", "32", "--length", "32", "--text", text, "--reference", folder]
    assert run(*size, "--round", "int8", "--dtype", dtype, "--json", path, short=False)[0] == 0
    document = valid_json(path)
    (found,) = document["candidates"]
    assert document["reference"]["dtype"] == found["dtype"] == found["logits_dtype"] == dtype
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    tokens = torch.tensor([AutoTokenizer.from_pretrained(folder)(text.read_text(encoding="utf-8")).input_ids[:32]])
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(tokens).logits[0, :-1].double(), tokens[0, 1:])
    assert found["values"]["perplexity_p"]["value"] == pytest.approx(loss.exp().item(), rel=1e-6)


def test_a_model_in_a_folder_is_loaded_without_the_hub_and_another_one_from_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def from_pretrained(name: str, local_files_only: bool = False, **_: Any) -> Any:
        seen.append((name, local_files_only))
        return AutoTokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    for name in (str(folder), "somebody/something"):
        load_tokenizer(name)
    assert seen == [(str(folder), True), ("somebody/something", False)]
    assert huggingface_hub.constants.HF_HUB_OFFLINE  # so the other tests never reach the hub
