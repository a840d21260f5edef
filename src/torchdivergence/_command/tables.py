"""Tables and sentences beside the reports."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torchdivergence._command import rounding
from torchdivergence._command.evaluation import Evaluation
from torchdivergence._command.texts import Text
from torchdivergence._states.worst import WorstRow
from torchdivergence.report import DivergenceReport

LINES = (
    ("KL mean, nats", "kl_mean", "kl_clustered_standard_error", 1),
    ("KL median", "kl_median", None, 1),
    ("KL 99 %", "kl_p99", None, 1),
    ("KL maximum", "kl_max", None, 1),
    ("same top token, %", "top_1_agreement", "top_1_agreement_clustered_standard_error", 100),
    ("expected acceptance, %", "expected_acceptance", "expected_acceptance_clustered_standard_error", 100),
    ("perplexity of q", "perplexity_q", "perplexity_q_clustered_standard_error", 1),
    ("ln(perplexity q / p)", "log_perplexity_ratio", "log_perplexity_ratio_clustered_standard_error", 1),
    ("Δp, root mean square, %", "delta_p_rms", "delta_p_rms_clustered_standard_error", 100),
)
"""Label, name of the value in the report, name of its error, factor for both."""
_BEFORE, _AFTER = 12, 4
"""How many tokens around a row are shown."""


def underlined(title: str) -> str:
    """A heading."""
    return f"\n{title}\n{'=' * len(title)}"


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
    floor, whole = rounding.LOGITS, rounding.BFLOAT16
    if floor not in reports:
        return ""
    text = f"""

"{floor}" is the noise floor: the reference compared with itself, with its logits rounded
to bfloat16. This is the effect of rounding the output alone. Top tokens differ in this column only because of ties:
rounding makes logits equal, and then the first one counts."""
    if whole in reports:
        part = reports[floor].to_dict()["kl_mean"] / reports[whole].to_dict()["kl_mean"]
        text += f'\nIt is about {part:.0%} of the mean KL of the model "{whole}".'
    return text


def located_worst(evaluation: Evaluation, text: Text) -> list[tuple[WorstRow, int, int]]:
    """The rows of the largest divergence, each with its sequence and the place of its target, both from 0."""
    if not evaluation.report.num_worst:
        return []
    sequences = {key: i for i, key in enumerate(text.keys().tolist())}
    return [(row, sequences[row.key], text.scored_from + 1 + row.position) for row in evaluation.report.worst()]


def worst_rows(evaluation: Evaluation, text: Text, tokenizer: Any) -> str:
    """The rows of the largest divergence, with the text around the target if there is a tokenizer."""
    lines = [f"Largest KL divergences, nats{'' if tokenizer is None else ': the target is in [brackets]'}"]
    for row, sequence, token in located_worst(evaluation, text):
        around = "" if tokenizer is None else f": {_context(text.tokens[sequence], token, tokenizer)}"
        lines.append(
            f"  {row.divergence:<9.4g} sequence {sequence + 1}, token {token + 1}, target {row.target}{around}"
        )
    return "\n".join(lines)


def _context(tokens: Tensor, place: int, tokenizer: Any) -> str:
    parts = tokens[max(0, place - _BEFORE) : place], tokens[place : place + 1], tokens[place + 1 : place + 1 + _AFTER]
    before, target, after = (tokenizer.decode(part.tolist()).replace("\n", "\\n") for part in parts)
    return f"{before}[{target}]{after}"
