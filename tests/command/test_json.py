"""The names, worst rows and paired comparisons in the files that ``torchdivergence compare`` writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch.nn.functional import kl_div
from transformers import AutoTokenizer

from tests.support.command import SCHEMA, Run, valid_json
from tests.support.small_models import Model
from torchdivergence import DivergenceReport
from torchdivergence.__main__ import main
from torchdivergence._command.rounding import round_weights

LENGTH = 32


@pytest.fixture
def outputs(folder: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all outputs of a comparison of int8 and int4 weights."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["compare", "--reference", folder, "--text", text, "--tokens", "100", "--length", LENGTH]
    files = ["--json", tmp_path / "o.json", "--model-index", tmp_path / "card.md", "--save-report", tmp_path]
    rounded = ["--round", "int8", "int4"]
    assert main(list(map(str, [*arguments, *files, *rounded]))) == 0
    return tmp_path


def test_no_file_contains_the_folder_of_a_model_or_text(outputs: Path, folder: Path, text: Path) -> None:
    document = valid_json(outputs / "o.json")
    assert document["reference"]["name"] == folder.name and document["tokens"]["text"] == text.name
    saved = DivergenceReport.load(outputs / "int8-weights.safetensors").metadata
    assert saved["reference"] == folder.name and saved["tokens_text"] == text.name
    for name in ("o.json", "card.md"):
        written = (outputs / name).read_text(encoding="utf-8")
        assert str(folder.parent) not in written and str(text.parent) not in written


def test_the_worst_rows_in_the_json_are_those_of_the_models(
    outputs: Path, folder: Path, text: Path, reference: Model
) -> None:
    ids = AutoTokenizer.from_pretrained(folder)(text.read_text(encoding="utf-8")).input_ids
    tokens = torch.tensor(ids[: 3 * LENGTH]).view(3, LENGTH)
    with torch.no_grad():
        p, q = (model(tokens).logits.double() for model in (reference, round_weights(reference, 4, 32)))
    divergence = kl_div(q.log_softmax(-1), p.log_softmax(-1), reduction="none", log_target=True).sum(-1)[:, :-1]
    worst = valid_json(outputs / "o.json")["candidates"][1]["worst"]
    assert [row["divergence"] for row in worst] == pytest.approx(divergence.flatten().topk(5).values.tolist(), rel=1e-4)
    for row in worst:
        found = divergence[row["sequence"], row["token"] - 1].item()
        assert row["divergence"] == pytest.approx(found, rel=1e-4)
        assert row["target"] == tokens[row["sequence"], row["token"]]


def test_the_paired_comparison_in_the_json_has_the_numbers_of_the_reports(outputs: Path) -> None:
    a, b = (DivergenceReport.load(outputs / f"{kind}-weights.safetensors") for kind in ("int8", "int4"))
    (found,) = valid_json(outputs / "o.json")["comparisons"]
    differences = a.compare(b).differences
    assert found["means"].keys() == differences.keys()
    for name, difference in differences.items():
        expected = difference._asdict()
        expected["sequences_needed"] = expected.pop("texts_needed")
        verdict = expected.pop("verdict")
        assert found["means"][name].pop("verdict") == verdict
        numbers = {key: float(number) for key, number in found["means"][name].items()}
        assert numbers == pytest.approx(expected, nan_ok=True)


def test_the_json_has_the_values_of_the_report_in_the_form_of_the_schema(run: Run, tmp_path: Path) -> None:
    code, _, _ = run("--round", "int8", "int4", "--json", tmp_path / "o.json", "--save-report", tmp_path / "reports")
    document = valid_json(tmp_path / "o.json")
    assert code == 0 and document["tokens"]["sequences"] == 3 and document["reference"]["dtype"] == "float32"
    assert [c["name"] for c in document["candidates"]] == ["int8 weights", "int4 weights"]
    assert [(c["a"], c["b"]) for c in document["comparisons"]] == [("int8 weights", "int4 weights")]
    saved = DivergenceReport.load(tmp_path / "reports" / "int8-weights.safetensors")
    values, found = saved.to_dict(), document["candidates"][0]
    assert saved.metadata["tokens_sha256"] == document["tokens"]["sha256"]
    flat = {"kl_mean": "kl_", **{name: f"{name}_" for name in found["values"] if name != "kl_mean"}}
    assert found["counts"] == {name: values.pop(name) for name in found["counts"]}
    for name, entry in found["values"].items():
        assert float(entry["value"]) == pytest.approx(values.pop(name), nan_ok=True)
        for error in entry.keys() - {"value", "unit", "rough"}:
            assert float(entry[error]) == pytest.approx(values.pop(flat[name] + error), nan_ok=True)
    assert not values  # the document has every value
    assert {name for name, entry in found["values"].items() if entry.get("rough")} == set(saved.rough_values())
    assert found["values"]["kl_p99"]["unit"] == "nats" and found["values"]["top_1_agreement"]["unit"] == "1"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("direction"),
        lambda d: d.update(version=2),
        lambda d: d["tokens"].update(sha256="0"),
        lambda d: d["candidates"][0]["values"]["kl_mean"].pop("upper"),
        lambda d: d["candidates"][0]["values"]["kl_max"].update(value="large"),
        lambda d: d["candidates"][0].update(more=1),
        lambda d: d["candidates"][0]["worst"][0].pop("token"),
        lambda d: d["comparisons"][0]["means"]["kl_mean"].pop("p_value"),
    ],
)
def test_the_schema_refuses_another_document(run: Run, tmp_path: Path, change: Callable[[Any], None]) -> None:
    run("--round", "logits", "int8", "--json", tmp_path / "o.json")
    document = valid_json(tmp_path / "o.json")
    change(document)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
