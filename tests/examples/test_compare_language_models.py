"""The example that compares language models, with small models of two layers."""

import copy
import importlib.util
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")

Model = Any  # the types of transformers are not read
CLASSES = 256  # bytes


def script() -> ModuleType:
    path = ROOT / "examples" / "compare_language_models.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = script()


@pytest.fixture(scope="module")
def reference() -> Model:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": CLASSES}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, initializer_range=0.2, tie_word_embeddings=True)).eval()


@pytest.fixture(scope="module")
def sequences() -> Tensor:
    return torch.randint(CLASSES, (5, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reference model and a tokenizer for which each byte is a token."""
    path = tmp_path_factory.mktemp("reference")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)
    reference.save_pretrained(path)
    return path


def test_a_model_has_no_divergence_from_itself(reference: Model, sequences: Tensor) -> None:
    values = example.compare(reference, example.run(copy.deepcopy(reference)), sequences).to_dict()
    assert values["kl_max"] == 0 and values["top_1_agreement"] == 1 and values["delta_p_rms"] == 0


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_each_token_except_the_first_is_the_target_of_one_row(reference: Model, sequences: Tensor, batch: int) -> None:
    rounded = example.round_weights(reference, 4, 32)
    values = example.compare(reference, example.run(rounded), sequences, batch).to_dict()
    with torch.no_grad():
        p, q = (model(sequences).logits[:, :-1].double().log_softmax(-1) for model in (reference, rounded))
    assert (values["rows"], values["sequences"]) == (sequences.numel() - len(sequences), len(sequences))
    # float32 logits differ in their last bits with the size of the batch
    assert values["kl_mean"] == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-4)
    loss = nn.functional.nll_loss(q.flatten(0, 1), sequences[:, 1:].flatten())
    assert values["perplexity_q"] == pytest.approx(loss.exp().item(), rel=1e-5)


def test_logits_are_freed_after_their_batch(reference: Model, sequences: Tensor) -> None:
    seen: list[weakref.ref[Tensor]] = []

    def logits(_: Tensor, p: Tensor) -> Tensor:
        assert not any(earlier() is not None for earlier in seen)
        seen.append(weakref.ref(p))
        return p.clone()

    example.compare(reference, example.Candidate(logits, CLASSES), sequences, batch=1)
    assert len(seen) == len(sequences)


def test_fewer_bits_give_a_larger_divergence(reference: Model, sequences: Tensor) -> None:
    means = [
        example.compare(reference, make(reference), sequences).to_dict()["kl_mean"]
        for make in (example.run, example.ROUNDINGS["int8"][1], example.ROUNDINGS["int4"][1])
    ]
    assert 0 == means[0] < means[1] < means[2]


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 32), (4, 40)])
def test_a_rounded_weight_is_a_multiple_of_the_step_and_at_most_half_a_step_away(
    reference: Model, bits: int, group: int | None
) -> None:
    rounded = dict(example.round_weights(reference, bits, group).named_parameters())
    for name, weight in reference.named_parameters():
        if "proj" not in name:
            assert torch.equal(rounded[name], weight)
            continue
        for before, after in zip(weight.split(group or 1000, 1), rounded[name].split(group or 1000, 1), strict=True):
            step = before.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
            steps = after / step
            torch.testing.assert_close(steps, steps.round(), rtol=1e-6, atol=0)  # the rounding of float32
            assert ((before - after).abs() <= step * (0.5 + 1e-4)).all()


def test_a_row_of_zeros_is_not_changed_by_rounding() -> None:
    assert torch.equal(example.round_rows(torch.zeros(2, 3), 7), torch.zeros(2, 3))


def test_a_model_without_linear_layers_is_refused(reference: Model) -> None:
    model = copy.deepcopy(reference)
    model.model.layers = nn.ModuleList()
    with pytest.raises(ValueError, match=r"layers of torch\.nn\.Linear"):
        example.round_weights(model, 8)


def test_all_in_bfloat16_is_the_model_loaded_in_bfloat16(reference: Model, sequences: Tensor, folder: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert torch.equal(example.to_bfloat16(reference)(sequences).logits, loaded(sequences).logits)


@pytest.fixture(scope="module")
def padded(reference: Model) -> Model:
    """The reference with eight padded classes."""
    model = copy.deepcopy(reference)
    model.resize_token_embeddings(CLASSES + 8, mean_resizing=False)
    return model


def test_padded_classes_are_ignored_and_reported(
    reference: Model, padded: Model, sequences: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    values = example.compare(reference, example.run(padded), sequences, name="padded").to_dict()
    assert values["kl_max"] < 1e-9  # float32 sums may differ in order for matrices of another size
    assert "padded: p has 256 classes, q has 264: the first 256 count" in capsys.readouterr().out


def test_candidates_share_one_table_and_one_plot(
    padded: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    candidate, text, plot = tmp_path / "candidate", tmp_path / "text.txt", tmp_path / "new" / "plot.png"
    example.round_weights(padded, 4).save_pretrained(candidate)
    text.write_text("The quick brown fox jumps over the lazy dog. " * 5, encoding="utf-8")
    named = ["--reference", str(folder), "--candidate", str(candidate), "--round", "logits", "bfloat16"]
    example.main([*named, "--text", str(text), "--tokens", "100", "--length", "32", "--output", str(plot)])

    printed = capsys.readouterr().out
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    assert table[0] == ["", "logits rounded to bfloat16", "all in bfloat16", str(candidate)]
    assert [line[0] for line in table[2:]] == [label for label, *_ in example.LINES]
    means = [float(cell.split()[0]) for cell in table[2][1:]]
    assert 0 < means[0] < means[1] < means[2]
    assert printed.count("93 rows in 3 sequences") == 3 and "noise floor" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_text_that_is_too_short_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit, match="one sequence of 256 tokens"):
        example.tokens(str(folder), "short", 2048, 256)


@pytest.mark.parametrize(
    ("given", "rounded"), [([], list(example.ROUNDINGS)), (["--candidate", "a"], []), (["--round", "int8"], ["int8"])]
)
def test_the_reference_is_rounded_without_a_candidate_or_on_request(given: list[str], rounded: list[str]) -> None:
    assert example.arguments(["--reference", "p", *given]).round == rounded


@pytest.mark.parametrize("label", [None, "itself"])
def test_a_model_compared_with_itself_has_a_plot(reference: Model, sequences: Tensor, label: str | None) -> None:
    report = example.compare(reference, example.run(reference), sequences)
    figure, _ = report.plot(label=label)
    figure.draw_without_rendering()


def test_no_change_of_probability_has_no_error(reference: Model, sequences: Tensor) -> None:
    values = example.compare(reference, example.run(reference), sequences).to_dict()
    assert values["delta_p_rms_standard_error"] == 0 and values["delta_p_rms_clustered_standard_error"] == 0
