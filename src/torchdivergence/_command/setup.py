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
from torchdivergence._command.texts import Text, read_text, tokenize

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
    repeated = [name for name in options.candidate if options.candidate.count(name) > 1]
    if repeated:
        raise CommandError(f"the candidate {repeated[0]} is given twice.")
    files = {name: LogitsFile(Path(name)) for name in names if is_logits_file(Path(name))}
    if rounded and reference in files:
        raise CommandError(f"{reference} holds logits, which cannot be rounded like a model: name a --candidate.")
    running = [name for name in dict.fromkeys(names) if name not in files]
    if running:
        models.prepare_transformers(running)
    text, tokenizer = _of_files(files, running, options) if files else _of_text(reference, running[1:], options)
    begin = models.first_token(tokenizer) if files and running else None
    source = partial(_source, files=files, begin=begin)
    p = source(reference)
    return Setup(reference, p, _candidates(rounded, options.candidate, p, source), text, tokenizer)


def _source(name: str, files: Mapping[str, LogitsFile], begin: int | None) -> Source:
    return FileSource(files[name]) if name in files else ModelSource(models.load_model(name), begin)


def _candidates(
    rounded: list[str], named: list[str], p: Source, source: Callable[[str], Source]
) -> dict[str, Callable[[], Source]]:
    """What makes each candidate, by its name in tables."""
    found: dict[str, Callable[[], Source]] = {}
    for kind in rounded:
        label, make = rounding.rounding(kind)
        assert isinstance(p, ModelSource)
        found[label] = partial(make, p)
    return found | {label: partial(source, name) for label, name in _labels(named).items()}


def _labels(names: list[str]) -> dict[str, str]:
    """The names by their label in tables: the last part of a path, if these parts differ."""
    short = {name: Path(name).name if Path(name).exists() else name for name in names}
    given = list(short.values())
    return {label if given.count(label) == 1 else name: name for name, label in short.items()}


def _of_text(reference: str, candidates: list[str], options: argparse.Namespace) -> tuple[Text, Any]:
    """The tokens of a text, which all tokenizers must agree on."""
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
