"""The names, worst rows and paired comparisons in the files that ``torchdivergence compare`` writes."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div
from transformers import AutoTokenizer

from tests.command.test_compare import valid_json
from tests.support.small_models import Model
from torchdivergence import DivergenceReport
from torchdivergence.__main__ import main
from torchdivergence._command.rounding import round_weights

pytestmark = pytest.mark.usefixtures("one_thread")
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
