"""Logits files of llama.cpp in a comparison, alone and beside models."""

import copy
import re
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.support.command import Run, logits_file, valid_json
from tests.support.llama_cpp import write_logits
from tests.support.small_models import CLASSES, Model, save_tokenizer


def test_files_of_llama_cpp_and_models_have_the_divergence_of_the_models(
    run: Run, files: list[Path], folder: Path, tmp_path: Path
) -> None:
    base, int8 = files
    pairs = [(base, ["--candidate", int8]), (folder, ["--candidate", int8]), (base, ["--candidate", folder])]
    means = []
    for place, (reference, candidate) in enumerate(pairs):
        path = tmp_path / f"{place}.json"
        assert run("--reference", reference, *candidate, "--json", path, short=False)[0] == 0
        document = valid_json(path)
        assert document["tokens"] == {**document["tokens"], "sequences": 4, "length": 12, "scored_from": 6}
        assert document["candidates"][0]["counts"]["rows"] == 4 * 5
        means.append(document["candidates"][0]["values"]["kl_mean"]["value"])
    # the rounding to 16 bits moves a divergence of 5e-4 by little, and that of a model from its own file is small
    assert means[0] == pytest.approx(means[1], rel=0.01) and means[2] < 1e-6 < means[0]


def test_a_model_beside_a_file_sees_its_first_token_in_place_of_the_first(
    run: Run, reference: Model, tmp_path: Path
) -> None:
    save_tokenizer(tmp_path / "model", begin="!")
    begin = AutoTokenizer.from_pretrained(tmp_path / "model").bos_token_id
    reference.save_pretrained(tmp_path / "model")
    tokens = torch.randint(CLASSES, (3, 8), generator=torch.Generator().manual_seed(3))
    seen = tokens.clone()
    seen[:, 0] = begin
    with torch.no_grad():
        write_logits(tmp_path / "base.bin", tokens, reference(seen).logits)
    options = ["--candidate", tmp_path / "model", "--json", tmp_path / "o.json"]
    assert run("--reference", tmp_path / "base.bin", *options, short=False)[0] == 0
    assert valid_json(tmp_path / "o.json")["candidates"][0]["values"]["kl_max"]["value"] < 1e-6


def test_a_model_beside_a_file_must_have_classes_for_its_tokens(run: Run, reference: Model, tmp_path: Path) -> None:
    smaller = copy.deepcopy(reference)
    smaller.resize_token_embeddings(100)
    smaller.save_pretrained(tmp_path / "smaller")
    save_tokenizer(tmp_path / "smaller")
    tokens = torch.randint(100, (2, 8), generator=torch.Generator().manual_seed(3))
    few, many = logits_file(tmp_path / "few.bin", reference, tokens), tmp_path / "many.bin"
    tokens[1, 2] = 100
    logits_file(many, reference, tokens)
    for reversed_sides in (False, True):
        for file, expected in ((few, 0), (many, 3)):
            sides = (tmp_path / "smaller", file) if reversed_sides else (file, tmp_path / "smaller")
            code, _, said = run("--reference", sides[0], "--candidate", sides[1], short=False)
            assert code == expected and f"{file} has no tokenizer, so it cannot be checked" in said
            assert ("go up to 100, but only 100 classes are in both" in said) == (code == 3)


def test_files_need_no_other_package_and_models_say_which_extra_they_need(
    run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("transformers", "gguf", "tqdm", "matplotlib", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, None)
    assert run("--reference", files[0], "--candidate", files[1], short=False)[0] == 0
    code, _, said = run("--round", "int8")
    assert code == 3 and "needs the package transformers" in said and "torchdivergence[compare]" in said


def changed_file(path: Path, change: str) -> Path:
    tokens = torch.randint(CLASSES, (4, 12), generator=torch.Generator().manual_seed(2))
    classes = CLASSES
    if change == "tokens":
        tokens[2, 5] += 1
    elif change == "size":
        tokens = tokens[:, :10]
    else:
        classes += 1
    return write_logits(path, tokens, torch.zeros(*tokens.shape, classes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tokens", "different texts: token 6 of chunk 3 is"),
        ("size", "the files differ in size: .* has 4 chunks of 12 tokens, .* has 4 chunks of 10"),
        ("classes", "the vocabularies differ: .* has 256 classes, .* has 257"),
    ],
)
def test_files_of_other_tokens_are_refused(
    run: Run, files: list[Path], tmp_path: Path, change: str, message: str
) -> None:
    other = changed_file(tmp_path / "other.bin", change)
    code, _, said = run("--reference", files[0], "--candidate", other, short=False)
    assert code == 3 and re.search(message, said)
