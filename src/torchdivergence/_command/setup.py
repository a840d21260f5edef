"""What is compared: the reference, the candidates and the tokens, from the arguments."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torchdivergence._command import models, rounding
from torchdivergence._command.errors import CommandError
from torchdivergence._command.llama_cpp import LogitsFile, is_logits_file
from torchdivergence._command.progress import note
from torchdivergence._command.sources import FileSource, ModelSource, Source
from torchdivergence._command.texts import Text, begin_token, read_text, tokenize

_TOKENS, _LENGTH = 20_000, 256


class Setup(NamedTuple):
    """What is compared.

    Attributes:
        name: Of the reference.
        reference: The source of p.
        candidates: A function that loads each candidate, by name. One at a time is in memory.
        text: The tokens.
        tokenizer: Of the reference, or of a model beside a file; None if there are files only.
    """

    name: str
    reference: Source
    candidates: Mapping[str, Callable[[], Source]]
    text: Text
    tokenizer: Any


def prepare(options: argparse.Namespace) -> Setup:
    """Check the arguments and files, then load the reference."""
    reference = options.reference or models.demonstration_model()
    rounded = options.round or ([] if options.candidate else list(rounding.ALL))
    names = [reference, *options.candidate]
    given = [*options.candidate, *options.round]
    repeated = [name for name in given if given.count(name) > 1]
    if repeated:
        raise CommandError(f"the candidate {repeated[0]} is given twice.")
    files = {name: LogitsFile(Path(name)) for name in names if is_logits_file(Path(name))}
    if rounded and reference in files:
        raise CommandError(f"{reference} holds logits, which cannot be rounded like a model: name a --candidate.")
    running = [name for name in dict.fromkeys(names) if name not in files]
    if running:
        models.prepare_transformers(running)
    text, tokenizer = _of_files(files, running, options) if files else _of_text(reference, running[1:], options)
    begin = begin_token(tokenizer) if files and running else None
    load = partial(models.load_model, dtype=options.dtype, device=options.device)
    source = partial(_source, files=files, load=load, begin=begin)
    p = source(reference)
    return Setup(reference, p, _candidates(rounded, options.candidate, p, source), text, tokenizer)


def header(setup: Setup) -> str:
    """What is compared, in three lines."""
    sequences, length = setup.text.tokens.shape
    candidates = list(setup.candidates)
    return (
        f"Reference p: {short_name(setup.name)} ({setup.reference.dtype})\n"
        f"Candidate{'s' * (len(candidates) > 1)} q: {', '.join(candidates)}\n"
        f"Text: {short_name(setup.text.name)}, {sequences:,} sequence{'s' * (sequences > 1)} of {length:,} tokens"
    )


def _source(name: str, files: Mapping[str, LogitsFile], load: Callable[[str], Any], begin: int | None) -> Source:
    return FileSource(files[name]) if name in files else ModelSource(load(name), begin)


def _candidates(
    rounded: list[str], named: list[str], p: Source, source: Callable[[str], Source]
) -> dict[str, Callable[[], Source]]:
    """What makes each candidate, by its name in tables. Pairs are made with the first, so named models come first."""
    found: dict[str, Callable[[], Source]] = {label: partial(source, name) for label, name in _labels(named).items()}
    for kind in rounded:
        label, make = rounding.rounding(kind)
        assert isinstance(p, ModelSource)
        found[label] = partial(make, p)
    return found


def _labels(names: list[str]) -> dict[str, str]:
    """The names by their label in tables: the last part of a path, if these parts differ."""
    short = {name: short_name(name) for name in names}
    given = list(short.values())
    return {label if given.count(label) == 1 else name: name for name, label in short.items()}


def short_name(name: str) -> str:
    """The name of a model or a text: of a path, only the last part, which tells nothing about this computer."""
    path = Path(name)
    return path.resolve().name if path.exists() else name


def _of_text(reference: str, candidates: list[str], options: argparse.Namespace) -> tuple[Text, Any]:
    """The tokens of a text, which all tokenizers must agree on."""
    if options.text is None and (options.reference or options.candidate):
        raise CommandError("name a text for the models: --text FILE.")
    written, name = read_text(options.text)
    tokenizer = models.load_tokenizer(reference)
    text = tokenize(tokenizer, written, name, options.tokens or _TOKENS, options.length or _LENGTH)
    for candidate in candidates:
        remark = models.check_tokenizer(candidate, text, written)
        if remark:
            note(remark)
    return text, tokenizer


def _of_files(files: Mapping[str, LogitsFile], running: list[str], options: argparse.Namespace) -> tuple[Text, Any]:
    """The tokens of the files, which must be the same in all of them."""
    if options.text is not None or options.length is not None:
        raise CommandError(f"--text and --length have no effect beside {min(files)}: the tokens come from that file.")
    (name, first), *others = files.items()
    for other, file in others:
        _check_same(name, first, other, file)
    chunks = len(first.tokens) if options.tokens is None else options.tokens // first.tokens.shape[1]
    if not chunks:
        raise CommandError(f"--tokens is {options.tokens}, but a chunk of {name} has {first.tokens.shape[1]} tokens.")
    if running:
        note(f"{name} has no tokenizer, so it cannot be checked that its tokens are those of {', '.join(running)}.")
    tokenizer = models.load_tokenizer(running[0]) if running else None
    return Text(name, first.tokens[:chunks], first.scored_from), tokenizer


def _check_same(name: str, first: LogitsFile, other: str, file: LogitsFile) -> None:
    if file.classes != first.classes:
        raise CommandError(
            f"the vocabularies differ: {name} has {first.classes:,} classes, {other} has {file.classes:,}."
        )
    if file.tokens.shape != first.tokens.shape:
        sizes = (f"{x.tokens.shape[0]} chunks of {x.tokens.shape[1]} tokens" for x in (first, file))
        raise CommandError(f"the files differ in size: {name} has {next(sizes)}, {other} has {next(sizes)}.")
    different = (file.tokens != first.tokens).nonzero()
    if len(different):
        chunk, token = different[0].tolist()
        raise CommandError(
            f"the files are of different texts: token {token + 1} of chunk {chunk + 1} is "
            f"{first.tokens[chunk, token]} in {name}, but {file.tokens[chunk, token]} in {other}."
        )
