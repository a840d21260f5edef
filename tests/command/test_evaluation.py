"""The comparison of a candidate with the reference, batch by batch, and rounded versions of a model."""

import copy
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.support.small_models import CLASSES, Model
from torchdivergence import DivergenceReport
from torchdivergence._command.errors import CommandError
from torchdivergence._command.evaluation import Evaluation, Pair, base_of_pairs, evaluate
from torchdivergence._command.rounding import LOGITS, round_rows, round_weights, rounding, to_bfloat16
from torchdivergence._command.rows import Rows
from torchdivergence._command.sources import LogitsSource, ModelSource, Source
from torchdivergence._command.texts import Batch, Text


def compared(reference: Model, candidate: Source, sequences: Tensor, batch: int = 2) -> DivergenceReport:
    report = DivergenceReport()
    result = evaluate(Pair("q", ModelSource(reference), candidate, Text("text", sequences)), report, batch)
    assert result.complete and result.sequences == len(sequences)
    return report


def test_a_model_has_no_divergence_from_itself(reference: Model, sequences: Tensor) -> None:
    values = compared(reference, ModelSource(copy.deepcopy(reference)), sequences).to_dict()
    assert values["kl_max"] == 0 and values["top_1_agreement"] == 1 and values["delta_p_rms"] == 0
    assert values["delta_p_rms_standard_error"] == 0 and values["delta_p_rms_clustered_standard_error"] == 0


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_each_token_except_the_first_is_the_target_of_one_row(reference: Model, sequences: Tensor, batch: int) -> None:
    rounded = round_weights(reference, 4, 32)
    values = compared(reference, ModelSource(rounded), sequences, batch).to_dict()
    with torch.no_grad():
        p, q = (model(sequences).logits[:, :-1].double().log_softmax(-1) for model in (reference, rounded))
    assert (values["rows"], values["sequences"]) == (sequences.numel() - len(sequences), len(sequences))
    # float32 logits differ in their last bits with the size of the batch
    assert values["kl_mean"] == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-4)
    loss = nn.functional.nll_loss(q.flatten(0, 1), sequences[:, 1:].flatten())
    assert values["perplexity_q"] == pytest.approx(loss.exp().item(), rel=1e-5)


class Elsewhere(nn.Module):
    """A model on another device, which the CPU's tokens cannot reach by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CLASSES, 4, device="meta"))

    def get_output_embeddings(self) -> "Elsewhere":
        return self

    def forward(self, tokens: Tensor) -> SimpleNamespace:
        assert tokens.device.type == "meta"
        return SimpleNamespace(logits=torch.ones(*tokens.shape, CLASSES))


def test_a_model_gets_its_tokens_on_its_own_device(sequences: Tensor) -> None:
    text = Text("text", sequences)
    rows = ModelSource(Elsewhere()).rows(next(text.batches(2)), text)
    assert rows.logits.device.type == "cpu" and rows.logits.shape == (2, 11, CLASSES)


def test_the_steps_of_a_bfloat16_model_are_those_of_its_weights_in_float32(reference: Model) -> None:
    half = to_bfloat16(reference)
    expected = round_weights(half.float(), 8).bfloat16().state_dict()
    found = round_weights(to_bfloat16(reference), 8).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_logits_are_freed_after_their_batch(reference: Model, sequences: Tensor) -> None:
    seen: list[weakref.ref[Tensor]] = []

    def logits(p: Tensor) -> Tensor:
        assert not any(earlier() is not None for earlier in seen)
        seen.append(weakref.ref(p))
        return p.clone()

    compared(reference, LogitsSource(logits, ModelSource(reference)), sequences, batch=1)
    assert len(seen) == len(sequences)


class Interrupted:
    """A candidate during whose third batch somebody presses ctrl-C."""

    classes, dtype = CLASSES, "float32"

    def rows(self, batch: Batch, text: Text, p: Rows | None = None) -> Rows:  # noqa: ARG002
        if batch.first == 2:
            raise KeyboardInterrupt
        assert p is not None
        return Rows(p.logits.bfloat16())


def test_an_interrupted_comparison_keeps_the_sequences_before(
    reference: Model, sequences: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = compared(reference, LogitsSource(Tensor.bfloat16, ModelSource(reference)), sequences[:2], 1)
    report = DivergenceReport()
    result = evaluate(Pair("q", ModelSource(reference), Interrupted(), Text("text", sequences)), report, 1)
    assert (result.complete, result.sequences) == (False, 2) and report.to_dict() == whole.to_dict()
    assert "Interrupted: q has 2 of 5 sequences" in capsys.readouterr().err


def test_padded_classes_are_ignored_and_reported(
    reference: Model, sequences: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    padded = copy.deepcopy(reference)
    padded.resize_token_embeddings(CLASSES + 8, mean_resizing=False)
    values = compared(reference, ModelSource(padded), sequences).to_dict()
    assert values["kl_max"] < 1e-9  # float32 sums may differ in order for matrices of another size
    assert "q: p has 256 classes, q has 264: only the first 256 are compared" in capsys.readouterr().err


def test_fewer_bits_and_larger_groups_give_a_larger_divergence(reference: Model, sequences: Tensor) -> None:
    p = ModelSource(reference)
    candidates = [p, *(rounding(kind).make(p) for kind in ("int8/16", "int8", "int4/16", "int4/64"))]
    means = [compared(reference, candidate, sequences).to_dict()["kl_mean"] for candidate in candidates]
    assert 0 == means[0] < means[1] < means[2] < means[3] < means[4]


def test_without_a_group_int8_has_a_scale_per_row_and_int4_one_per_32_weights(
    reference: Model, sequences: Tensor
) -> None:
    p = ModelSource(reference)
    for short, long in (("int8", "int8/1000"), ("int4", "int4/32")):
        values = [compared(reference, rounding(kind).make(p), sequences).to_dict() for kind in (short, long)]
        assert values[0] == values[1]
    assert rounding("int8").label == "int8 weights" and rounding("int8/64").label == "int8 weights, groups of 64"


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, 32), (4, 40)])
def test_a_rounded_weight_is_a_multiple_of_the_step_and_at_most_half_a_step_away(
    reference: Model, bits: int, group: int | None
) -> None:
    rounded = dict(round_weights(reference, bits, group).named_parameters())
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
    assert torch.equal(round_rows(torch.zeros(2, 3), 7), torch.zeros(2, 3))


def test_a_model_without_linear_layers_is_refused(reference: Model) -> None:
    model = copy.deepcopy(reference)
    model.model.layers = nn.ModuleList()
    with pytest.raises(CommandError, match=r"layers of torch\.nn\.Linear"):
        round_weights(model, 8)


def test_all_in_bfloat16_is_the_model_loaded_in_bfloat16(reference: Model, sequences: Tensor, folder: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert torch.equal(to_bfloat16(reference)(sequences).logits, loaded(sequences).logits)


@pytest.mark.parametrize(
    ("names", "base"),
    [(["a", LOGITS], "a"), ([LOGITS, "a", "b"], "a"), ([LOGITS], LOGITS), (["b", "a"], "b")],
)
def test_candidates_are_compared_with_the_first_that_is_not_the_noise_floor(names: list[str], base: str) -> None:
    done = [Evaluation(name, DivergenceReport(), "float32", "float32", 1, True) for name in names]
    assert base_of_pairs(done).name == base


def test_every_sequence_has_its_own_key_even_if_its_tokens_repeat(sequences: Tensor) -> None:
    keys = Text("text", torch.cat([sequences, sequences])).keys()
    assert len(set(keys.tolist())) == 10 and torch.equal(keys[:5], Text("other", sequences).keys())
