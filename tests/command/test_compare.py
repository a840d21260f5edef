"""``torchdivergence compare`` from the arguments to the tables, the plot and the model card."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

from tests.support import ROOT
from tests.support.command import Run, valid_json
from torchdivergence.__main__ import main
from torchdivergence._command.arguments import parse
from torchdivergence._command.setup import header, prepare
from torchdivergence._command.tables import LINES


def test_candidates_have_reports_one_table_one_plot_and_paired_comparisons(
    run: Run, candidate: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "new" / "plot.png"
    code, printed, said = run("--candidate", candidate, "--round", "logits", "bfloat16", "--plot", plot)
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    assert code == 0 and table[0] == ["", "candidate", "logits rounded to bfloat16", "all in bfloat16"]
    assert [line[0] for line in table[2:]] == [label for label, *_ in LINES]
    means = [float(cell.split()[0]) for cell in table[2][1:]]
    assert 0 < means[1] < means[2] < means[0]
    assert printed.count("93 rows in 3 sequences") == 3 and "noise floor" in printed
    assert printed.count("3 pairs of sequences") == 2 and printed.count("\ncandidate and ") == 2
    assert plot.read_bytes().startswith(b"\x89PNG") and f"Plot: {plot}" in said
    assert "candidate has no tokenizer" in said and "only the first 256 are compared" in said
    assert "%|" not in said  # there is no terminal, so there are no progress bars


def test_an_option_given_again_adds_candidates(run: Run) -> None:
    code, printed, _ = run("--round", "int8", "--round", "int4", "bfloat16", "--worst", "0")
    assert code == 0
    for name in ("int8 weights", "int4 weights", "all in bfloat16"):
        assert f"\n{name}\n===" in printed


def test_the_worst_rows_are_shown_with_the_text_around_the_target(run: Run, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _, printed, _ = run("--round", "int4", "--worst", "2")
    rows = [line for line in printed.splitlines() if "sequence " in line and "[" in line]
    assert len(rows) == 2
    text = "The quick brown fox jumps over the lazy dog. " * 5
    for row in rows:
        place = 32 * (int(row.split("sequence ")[1].split(",")[0]) - 1) + int(row.split("token ")[1].split(",")[0]) - 1
        around, target = row.split(": ", 1)[1], int(row.split("target ")[1].split(":")[0])
        assert tokenizer.decode([target]) == text[place]
        assert f"[{text[place]}]" in around and around.replace("[", "").replace("]", "") in text
    assert "Largest" not in run("--round", "int4", "--worst", "0")[1]


def test_the_model_index_is_what_the_hub_reads(run: Run, tmp_path: Path) -> None:
    run("--round", "int8", "--model-index", tmp_path / "card.md", "--json", tmp_path / "o.json")
    results = ModelCard.load(tmp_path / "card.md").data.eval_results
    values = valid_json(tmp_path / "o.json")["candidates"][0]["values"]
    assert results is not None and {r.metric_type for r in results} >= {"kl_mean", "top_1_agreement", "perplexity_q"}
    for result in results:
        assert result.metric_value == values[result.metric_type]["value"]
        assert result.dataset_args["sequences"] == 3


def test_the_header_names_the_reference_the_candidates_and_the_text(folder: Path, text: Path) -> None:
    given = ["compare", "--reference", str(folder), "--text", str(text), "--length", "32", "--tokens"]
    assert header(prepare(parse([*given, "100", "--round", "int8", "int4"]))).splitlines() == [
        "Reference p: reference (float32)",
        "Candidates q: int8 weights, int4 weights",
        "Text: fox.txt, 3 sequences of 32 tokens",
    ]
    assert "q: reference\n" in header(prepare(parse([*given, "32", "--candidate", str(folder)])))


@pytest.mark.parametrize("name", [".", "../reference", "../reference/"])
def test_a_folder_is_named_in_tables_however_it_is_given(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(folder)
    code, printed, _ = run("--reference", name, "--candidate", name, "--save-report", tmp_path)
    assert code == 0 and "\nreference\n====" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["reference.safetensors"]


def test_the_command_is_an_entry_point_and_python_m(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = EntryPoint("torchdivergence", project["scripts"]["torchdivergence"], "console_scripts").load()
    assert command is main and main(["--version"]) == 0
    assert "torchdivergence" in capsys.readouterr().out
